"""The only package that imports an AWS SDK. It translates the SDK's errors."""
