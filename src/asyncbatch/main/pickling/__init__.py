"""Pickles the user's functions and arguments with the code that workers lack."""
