"""How work is laid out: what the methods' schedules are made of."""
