"""A small emulator of the parts of S3, SQS and CloudFormation that local mode uses.

`queues` and `objects` are pure models: time is passed in, and there is no I/O. `server` puts them behind AWS's own
wire protocols, one module for each: `sqs` (JSON), `s3` (REST, XML), `query` (forms, XML) and `batch` (REST, JSON).
"""
