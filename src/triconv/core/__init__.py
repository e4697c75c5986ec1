"""What is computed: sizes, index formulas, the definition, the spectrum. No kernels, no schedules."""
