"""The edge to AWS: the one place that imports aiobotocore, and where its errors are translated."""
