"""One person's own motion: what clips of them teach an avatar, and the models that learn it."""
