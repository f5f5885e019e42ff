"""The training engine: one trainer for every task, recipes as data, checkpoints that resume exactly."""
