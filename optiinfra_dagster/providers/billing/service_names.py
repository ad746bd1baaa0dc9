"""The one name of each service: bills, exports and estimates spell it in several ways, and sums are made by it.

AWS' services are called as its FOCUS exports print them, Azure's by their meter category and Google Cloud's by their
description, for these are in every bill of theirs. What is listed nowhere keeps the name that the bill has.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EC2 = "Amazon Elastic Compute Cloud"
ELB = "Elastic Load Balancing"
EKS = "Amazon Elastic Container Service for Kubernetes"
VPC = "Amazon Virtual Private Cloud"
KUBERNETES_ENGINE = "Kubernetes Engine"

# The other spellings of each: product codes of Cost and Usage Reports, names of Cost Explorer, and older names.
_AWS: Mapping[str, tuple[str, ...]] = {
    EC2: ("AmazonEC2", "Amazon Elastic Compute Cloud - Compute", "EC2 - Other", "Amazon Elastic Block Store"),
    ELB: ("AWSELB", "Amazon Elastic Load Balancing"),
    EKS: ("AmazonEKS", "Amazon Elastic Kubernetes Service"),
    VPC: ("AmazonVPC",),
    "Amazon API Gateway": ("AmazonApiGateway",),
    "Amazon Athena": ("AmazonAthena",),
    "Amazon Bedrock": ("AmazonBedrock",),
    "Amazon CloudFront": ("AmazonCloudFront",),
    "Amazon Cognito": ("AmazonCognito",),
    "Amazon DocumentDB (with MongoDB compatibility)": ("AmazonDocDB",),
    "Amazon DynamoDB": ("AmazonDynamoDB",),
    "Amazon EC2 Container Registry (ECR)": ("AmazonECR", "Amazon Elastic Container Registry"),
    "Amazon ElastiCache": ("AmazonElastiCache",),
    "Amazon Elastic Container Service": ("AmazonECS", "Amazon EC2 Container Service"),
    "Amazon Elastic File System": ("AmazonEFS",),
    "Amazon Elastic MapReduce": ("ElasticMapReduce",),
    "Amazon FSx": ("AmazonFSx",),
    "Amazon GuardDuty": ("AmazonGuardDuty",),
    "Amazon Inspector": ("AmazonInspector", "AmazonInspectorV2"),
    "Amazon Kinesis": ("AmazonKinesis",),
    "Amazon Kinesis Firehose": ("AmazonKinesisFirehose",),
    "Amazon Lightsail": ("AmazonLightsail",),
    "Amazon MQ": ("AmazonMQ",),
    "Amazon Managed Streaming for Apache Kafka": ("AmazonMSK",),
    "Amazon MemoryDB": ("AmazonMemoryDB",),
    "Amazon Neptune": ("AmazonNeptune",),
    "Amazon OpenSearch Service": ("AmazonES", "Amazon Elasticsearch Service"),
    "Amazon QuickSight": ("AmazonQuickSight",),
    "Amazon Redshift": ("AmazonRedshift",),
    "Amazon Registrar": ("AmazonRegistrar",),
    "Amazon Relational Database Service": ("AmazonRDS",),
    "Amazon Route 53": ("AmazonRoute53",),
    "Amazon SageMaker": ("AmazonSageMaker",),
    "Amazon Simple Email Service": ("AmazonSES",),
    "Amazon Simple Notification Service": ("AmazonSNS",),
    "Amazon Simple Queue Service": ("AWSQueueService", "AmazonSQS"),
    "Amazon Simple Storage Service": ("AmazonS3",),
    "Amazon Timestream": ("AmazonTimestream",),
    "Amazon WorkSpaces": ("AmazonWorkSpaces",),
    "AmazonCloudWatch": ("Amazon CloudWatch",),  # so AWS prints it
    "AWS Backup": ("AWSBackup",),
    "AWS CloudTrail": ("AWSCloudTrail",),
    "AWS CodeBuild": ("CodeBuild",),
    "AWS CodePipeline": ("AWSCodePipeline",),
    "AWS Config": ("AWSConfig",),
    "AWS Cost Explorer": ("AWSCostExplorer",),
    "AWS Data Transfer": ("AWSDataTransfer",),
    "AWS Database Migration Service": ("AWSDatabaseMigrationSvc",),
    "AWS Direct Connect": ("AWSDirectConnect",),
    "AWS Glue": ("AWSGlue",),
    "AWS Key Management Service": ("awskms", "AWSKMS"),
    "AWS Lambda": ("AWSLambda",),
    "AWS Secrets Manager": ("AWSSecretsManager",),
    "AWS Security Hub": ("AWSSecurityHub",),
    "AWS Step Functions": ("AmazonStates",),
    "AWS Support (Business)": ("AWSSupportBusiness",),
    "AWS Support (Developer)": ("AWSSupportDeveloper",),
    "AWS Support (Enterprise)": ("AWSSupportEnterprise",),
    "AWS Systems Manager": ("AWSSystemsManager",),
    "AWS Transfer Family": ("AWSTransfer",),
    "AWS WAF": ("awswaf",),
    "AWS X-Ray": ("AWSXRay",),
    "CloudWatch Events": ("AWSEvents", "AmazonCloudWatchEvents"),
    "Savings Plans for AWS Compute usage": ("ComputeSavingsPlans",),
    "Savings Plans for AWS Database usage": ("DatabaseSavingsPlans",),
    "Savings Plans for AWS Machine Learning": ("MachineLearningSavingsPlans",),
}

# Names of Azure's FOCUS exports, and of Cost Management, where they differ from the meter category.
_AZURE: Mapping[str, tuple[str, ...]] = {
    "Azure Cosmos DB": ("Cosmos DB",),
    "Azure Database for MySQL": ("Azure DB for MySQL",),
    "Azure Database for PostgreSQL": ("Azure DB for PostgreSQL",),
    "Azure Kubernetes Service": ("Kubernetes Service", "Azure Kubernetes Service (AKS)"),
    "Functions": ("Azure Functions",),
    "Load Balancer": ("Azure Load Balancer", "Load Balancers"),
    "NAT Gateway": ("Azure NAT Gateway", "NAT Gateways"),
    "Redis Cache": ("Azure Cache for Redis",),
    "SQL Database": ("Azure SQL Database", "SQL Databases"),
    "Storage": ("Storage Accounts", "Azure Blob Storage", "Managed Disks", "Azure Disk Storage"),
    "Virtual Machines": ("Virtual Machine Scale Sets",),
    "Virtual Network": ("Virtual Networks", "Azure Virtual Network"),
}

_GOOGLE: Mapping[str, tuple[str, ...]] = {
    KUBERNETES_ENGINE: ("Google Kubernetes Engine", "Google Kubernetes Engine (GKE)"),
}

_NAMES = {
    spelling.casefold(): name
    for cloud in (_AWS, _AZURE, _GOOGLE)
    for name, others in cloud.items()
    for spelling in (name, *others)
}
_NO_NAMES = {"unassigned", "others", "not applicable"}  # what Azure writes where a charge has no category
_PRODUCT_CODE = re.compile(r"(?=.*\d)[a-z0-9]{20,32}")  # of AWS' Marketplace: tells nobody what was bought


@cache
def canonical(name: str) -> str:
    """The one name of what a cloud calls a service; "" where the word names none, as a code of a marketplace does."""
    name = name.strip()
    if name.casefold() in _NO_NAMES or _PRODUCT_CODE.fullmatch(name):
        return ""
    return _NAMES.get(name.casefold(), name)
