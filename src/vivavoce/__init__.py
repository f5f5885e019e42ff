"""Vivavoce: one photo and a voice in; a video of that person speaking out."""

__version__ = "0.1.0"
