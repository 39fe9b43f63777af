"""Guests without manners, at random but reproducibly."""
