"""Amazon Web Services: inventory, CloudWatch metrics and cost of a customer's accounts, through botocore."""
