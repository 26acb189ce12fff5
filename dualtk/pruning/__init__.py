"""Supernets: masks over shared weights, their schedule, and the compact network that a mask leaves."""
