"""A small emulator of the parts of S3, SQS and CloudFormation that local mode uses.

`queues` and `objects` are pure models: time is passed in, and there is no I/O. `server` provides AWS's wire protocols
for them, each in its own module: `sqs` (JSON), `s3` (REST, XML), `query` (forms, XML) and `batch` (REST, JSON).
"""
