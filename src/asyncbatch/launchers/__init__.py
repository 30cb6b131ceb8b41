"""What starts workers: AWS Batch, or processes of this machine."""
