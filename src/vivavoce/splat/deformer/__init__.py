"""The particle deformer of paper 003: speech moves the particles of an avatar, and its Gaussians follow."""
