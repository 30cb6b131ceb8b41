"""Tools for operators: the CloudFormation stack, its checks, its runs and their logs."""
