"""Arrays in, arrays out: the arithmetic of msl, on CPU (numba) and CUDA under one name."""
