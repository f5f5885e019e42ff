"""Terms that train the Gaussian family from a teacher: pure functions of tensors, each with a stated reduction."""
