"""The operator's side: the CloudFormation stack, its checks, its runs and their logs."""
