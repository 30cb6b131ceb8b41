"""The worker side: receives tiles, runs the user's function in slots, sends results back."""
