"""What is computed: sizes, index formulas, and the definition. No Numba, no threads."""
