"""What main stores on its disk: results, to resume from, and failed tiles, to compute them again."""
