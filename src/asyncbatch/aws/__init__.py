"""The edge to AWS: the one place that imports aioboto3, and where its errors are translated."""
