"""A person of Gaussians from one picture: LHM's body-head transformer (arXiv:2503.10625) with Hand++."""
