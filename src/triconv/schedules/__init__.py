"""How work is laid out: what a method's schedule is made of, as pure functions of a problem and a machine."""
