"""What the APIs show of each resource: botocore-shaped dicts, as full as the real answers.

In every field where a real answer may keep something secret stands `PLANTED`: it must never come out of a collector.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region

Shown = dict[str, Any]

PLANTED = "planted-secret-4Kd"
"""Stands in every field of an answer that may hold a secret."""

_SIZES = {"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4, "metal": 96}
_XEN = re.compile(r"(t1|t2|m[1-4]|c[1-4]|r[34]|i[23]|d2|p[23]|g[23]|x1e?)\.")
_STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_ZONES = "abc"


def is_nitro(instance_type: str) -> bool:
    """Whether instances of a type run on Nitro, not on the older hypervisor."""
    return not _XEN.match(instance_type)


def has_ebs_totals(resource: LabResource) -> bool:
    """Whether CloudWatch has EBS metrics of an instance as a whole: on Nitro, unless it is bare metal."""
    kind = resource.fleet.type or "m6i.large"
    return is_nitro(kind) and not kind.endswith(".metal")


def vcpus(instance_type: str) -> int:
    """Virtual CPUs of an instance type such as `m6i.4xlarge`."""
    size = instance_type.partition(".")[2]
    many = re.fullmatch(r"(\d+)xlarge", size)
    return 4 * int(many[1]) if many else _SIZES.get(size, 2)


def _tags(resource: LabResource) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in resource.tags.items()]


def _zone(resource: LabResource) -> str:
    return resource.region + _ZONES[(resource.parent or resource).index % len(_ZONES)]


def _address(resource: LabResource) -> str:
    return f"10.{resource.seed >> 8 & 63}.{resource.seed >> 16 & 255}.{4 + resource.index % 250}"


def _subnet(resource: LabResource, region: Region) -> tuple[str, str]:
    """The subnet and VPC that a resource stands in."""
    subnets = region.of("ec2:subnet")
    if not subnets:
        return "subnet-" + resource.hexid("subnet"), "vpc-" + resource.hexid("vpc")
    subnet = subnets[resource.index % len(subnets)]
    return subnet.id, subnet.parent.id if subnet.parent else ""


def instance(resource: LabResource, region: Region) -> Shown:
    """An EC2 instance."""
    kind = resource.fleet.type or "m6i.large"
    state = resource.state or "running"
    nitro, count = is_nitro(kind), vcpus(kind)
    arm = bool(re.match(r"(a1|\w+\d+g[a-z]*)\.", kind))
    threads = 1 if arm or count == 1 else 2
    subnet, vpc = _subnet(resource, region)
    address = _address(resource)
    group = [{"GroupId": "sg-" + resource.hexid("group"), "GroupName": "default"}]
    launched = resource.created
    alive = state not in {"terminated", "shutting-down"}
    shown: Shown = {
        "AmiLaunchIndex": 0,
        "ImageId": "ami-" + resource.hexid("image"),
        "InstanceId": resource.id,
        "InstanceType": kind,
        "LaunchTime": launched,
        "Monitoring": {"State": "enabled" if resource.fleet.detailed else "disabled"},
        "Placement": {"AvailabilityZone": _zone(resource), "GroupName": "", "Tenancy": "default"},
        "PrivateDnsName": f"ip-{address.replace('.', '-')}.ec2.internal" if alive else "",
        "ProductCodes": [],
        "PublicDnsName": "",
        "State": {"Code": _STATES.get(state, 16), "Name": state},
        "StateTransitionReason": ""
        if state in {"running", "pending"}
        else f"User initiated by {PLANTED} (2024-05-31 04:05:06 GMT)",
        "Architecture": "arm64" if arm else "x86_64",
        "BlockDeviceMappings": [
            {
                "DeviceName": _device(n),
                "Ebs": {
                    "AttachTime": launched + timedelta(seconds=1),
                    "DeleteOnTermination": n == 0,
                    "Status": "attached",
                    "VolumeId": volume.id,
                },
            }
            for n, volume in enumerate(region.children.get(resource, []))
        ],
        "ClientToken": f"{PLANTED}-{resource.index}",
        "EbsOptimized": nitro,
        "EnaSupport": True,
        "Hypervisor": "xen",  # what the API says of Nitro too, whatever runs underneath
        "RootDeviceName": "/dev/xvda",
        "RootDeviceType": "ebs",
        "SecurityGroups": group if alive else [],
        "SourceDestCheck": True,
        "Tags": _tags(resource),
        "VirtualizationType": "hvm",
        "CpuOptions": {"CoreCount": max(1, count // threads), "ThreadsPerCore": threads},
        "CapacityReservationSpecification": {"CapacityReservationPreference": "open"},
        "HibernationOptions": {"Configured": False},
        "MetadataOptions": {
            "State": "applied",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 2,
            "HttpEndpoint": "enabled",
            "HttpProtocolIpv6": "disabled",
            "InstanceMetadataTags": "disabled",
        },
        "EnclaveOptions": {"Enabled": False},
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "UsageOperationUpdateTime": launched,
        "MaintenanceOptions": {"AutoRecovery": "default"},
        "CurrentInstanceBootMode": "uefi" if nitro else "legacy-bios",
    }
    if alive:
        shown |= {"PrivateIpAddress": address, "SubnetId": subnet, "VpcId": vpc}
    if state in {"stopped", "stopping"}:
        shown["StateReason"] = {
            "Code": "Client.UserInitiatedShutdown",
            "Message": f"Client.UserInitiatedShutdown: {PLANTED}",
        }
    return shown


def reservation(resource: LabResource, region: Region) -> Shown:
    """The reservation around an instance: each was launched on its own."""
    return {
        "Groups": [],
        "Instances": [_without(resource, instance(resource, region))],
        "OwnerId": resource.account,
        "ReservationId": "r-" + resource.hexid("reservation"),
    }


def _device(n: int) -> str:
    return "/dev/xvda" if n == 0 else f"/dev/sd{chr(ord('e') + n)}"


def volume(resource: LabResource, region: Region) -> Shown:
    """An EBS volume, attached where an instance owns it."""
    owner = resource.parent
    size = resource.fleet.size or 8 * (1 + resource.seed % 16)
    kind = "gp3" if owner is not None else resource.fleet.type or "gp3"
    attachments = [
        {
            "AttachTime": owner.created + timedelta(seconds=1),
            "Device": _device(region.children[owner].index(resource)),
            "InstanceId": owner.id,
            "State": "attached",
            "VolumeId": resource.id,
            "DeleteOnTermination": resource is region.children[owner][0],
        }
        for owner in ([owner] if owner is not None else [])
    ]
    return {
        "Attachments": attachments,
        "AvailabilityZone": _zone(resource),
        "CreateTime": owner.created if owner else resource.created,
        "Encrypted": resource.seed % 3 > 0,
        "Size": size,
        "SnapshotId": "snap-" + resource.hexid("snapshot") if owner else "",
        "State": resource.state or ("in-use" if owner else "available"),
        "VolumeId": resource.id,
        "Iops": 3000 if kind == "gp3" else max(100, 3 * size),
        "Tags": _tags(resource),
        "VolumeType": kind,
        "MultiAttachEnabled": False,
        **({"Throughput": 125} if kind == "gp3" else {}),
    }


def vpc(resource: LabResource, _region: Region) -> Shown:
    """A VPC."""
    block = f"10.{resource.index % 64}.0.0/16"
    return {
        "OwnerId": resource.account,
        "InstanceTenancy": "default",
        "CidrBlockAssociationSet": [
            {
                "AssociationId": "vpc-cidr-assoc-" + resource.hexid("cidr"),
                "CidrBlock": block,
                "CidrBlockState": {"State": "associated"},
            }
        ],
        "IsDefault": resource.index == 0,
        "Tags": _tags(resource),
        "VpcId": resource.id,
        "State": resource.state or "available",
        "CidrBlock": block,
        "DhcpOptionsId": "dopt-" + resource.hexid("dhcp"),
    }


def subnet(resource: LabResource, _region: Region) -> Shown:
    """A subnet of a VPC."""
    network = resource.parent or resource
    return {
        "AvailabilityZoneId": f"use1-az{1 + resource.index % 6}",
        "MapCustomerOwnedIpOnLaunch": False,
        "OwnerId": resource.account,
        "AssignIpv6AddressOnCreation": False,
        "Ipv6CidrBlockAssociationSet": [],
        "Tags": _tags(resource),
        "SubnetArn": resource.arn,
        "EnableDns64": False,
        "Ipv6Native": False,
        "SubnetId": resource.id,
        "State": resource.state or "available",
        "VpcId": network.id,
        "CidrBlock": f"10.{network.index % 64}.{16 * (resource.index % 16)}.0/20",
        "AvailableIpAddressCount": 4091 - resource.seed % 400,
        "AvailabilityZone": resource.region + _ZONES[resource.index % len(_ZONES)],
        "DefaultForAz": network.index == 0,
        "MapPublicIpOnLaunch": network.index == 0,
    }


def nat_gateway(resource: LabResource, region: Region) -> Shown:
    """A NAT gateway with its address."""
    place, network = _subnet(resource, region)
    return {
        "CreateTime": resource.created,
        "NatGatewayAddresses": [
            {
                "AllocationId": "eipalloc-" + resource.hexid("address"),
                "NetworkInterfaceId": "eni-" + resource.hexid("interface"),
                "PrivateIp": _address(resource),
                "PublicIp": f"198.51.100.{resource.index % 256}",
                "IsPrimary": True,
                "Status": "succeeded",
            }
        ],
        "NatGatewayId": resource.id,
        "State": resource.state or "available",
        "SubnetId": place,
        "VpcId": network,
        "Tags": _tags(resource),
        "ConnectivityType": "public",
    }


_ENGINES = {
    "postgres": ("16.4", 5432, "postgresql-license"),
    "mysql": ("8.0.39", 3306, "general-public-license"),
    "mariadb": ("10.11.9", 3306, "general-public-license"),
    "aurora-postgresql": ("16.4", 5432, "postgresql-license"),
    "aurora-mysql": ("8.0.mysql_aurora.3.08.0", 3306, "general-public-license"),
}


def _engine(resource: LabResource, default: str) -> tuple[str, str, int, str]:
    engine = resource.fleet.engine or default
    return (engine, *_ENGINES.get(engine, ("1.0", 1433, "license-included")))


def _group(resource: LabResource) -> list[dict[str, str]]:
    return [{"VpcSecurityGroupId": "sg-" + resource.hexid("group"), "Status": "active"}]


def db_instance(resource: LabResource, region: Region) -> Shown:
    """An RDS database instance."""
    engine, version, port, licence = _engine(resource, "postgres")
    _, network = _subnet(resource, region)
    host = f"{resource.id}.{resource.hexid('host', 12)}.{resource.region}.rds.amazonaws.com"
    size = resource.fleet.size or 20 * (1 + resource.seed % 10)
    return {
        "DBInstanceIdentifier": resource.id,
        "DBInstanceClass": resource.fleet.type or "db.m6g.large",
        "Engine": engine,
        "DBInstanceStatus": resource.state or "available",
        "MasterUsername": PLANTED,
        "DBName": "app",
        "Endpoint": {"Address": host, "Port": port, "HostedZoneId": "Z2R2ITUGPM61AM"},
        "AllocatedStorage": size,
        "InstanceCreateTime": resource.created,
        "PreferredBackupWindow": "03:10-03:40",
        "BackupRetentionPeriod": 7,
        "DBSecurityGroups": [],
        "VpcSecurityGroups": _group(resource),
        "DBParameterGroups": [{"DBParameterGroupName": f"default.{engine}", "ParameterApplyStatus": "in-sync"}],
        "AvailabilityZone": _zone(resource),
        "DBSubnetGroup": {
            "DBSubnetGroupName": "default",
            "DBSubnetGroupDescription": "default",
            "VpcId": network,
            "SubnetGroupStatus": "Complete",
            "Subnets": [],
        },
        "PreferredMaintenanceWindow": "sun:04:32-sun:05:02",
        "PendingModifiedValues": {"MasterUserPassword": PLANTED},
        "LatestRestorableTime": resource.created + timedelta(days=1),
        "MultiAZ": resource.seed % 2 == 0,
        "EngineVersion": version,
        "AutoMinorVersionUpgrade": True,
        "ReadReplicaDBInstanceIdentifiers": [],
        "LicenseModel": licence,
        "OptionGroupMemberships": [],
        "PubliclyAccessible": False,
        "StorageType": "gp3",
        "Iops": 3000,
        "StorageThroughput": 125,
        "DbInstancePort": 0,
        "StorageEncrypted": True,
        "KmsKeyId": f"arn:aws:kms:{resource.region}:{resource.account}:key/{resource.hexid('key', 32)}",
        "DbiResourceId": "db-" + resource.hexid("dbi", 26).upper(),
        "CACertificateIdentifier": "rds-ca-rsa2048-g1",
        "DomainMemberships": [],
        "CopyTagsToSnapshot": True,
        "MonitoringInterval": 0,
        "DBInstanceArn": resource.arn,
        "IAMDatabaseAuthenticationEnabled": False,
        "PerformanceInsightsEnabled": False,
        "DeletionProtection": True,
        "AssociatedRoles": [],
        "TagList": _tags(resource),
        "CustomerOwnedIpEnabled": False,
        "ActivityStreamStatus": "stopped",
        "BackupTarget": "region",
        "NetworkType": "IPV4",
        "DedicatedLogVolume": False,
    }


def db_cluster(resource: LabResource, _region: Region) -> Shown:
    """An Aurora cluster."""
    engine, version, port, _ = _engine(resource, "aurora-postgresql")
    host = f"cluster-{resource.hexid('host', 12)}.{resource.region}.rds.amazonaws.com"
    return {
        "AllocatedStorage": 1,
        "AvailabilityZones": [resource.region + zone for zone in _ZONES],
        "BackupRetentionPeriod": 7,
        "DatabaseName": "app",
        "DBClusterIdentifier": resource.id,
        "DBClusterParameterGroup": f"default.{engine}16",
        "DBSubnetGroup": "default",
        "Status": resource.state or "available",
        "EarliestRestorableTime": resource.created + timedelta(hours=1),
        "Endpoint": f"{resource.id}.{host}",
        "ReaderEndpoint": f"{resource.id}.{host.replace('cluster-', 'cluster-ro-')}",
        "MultiAZ": True,
        "Engine": engine,
        "EngineVersion": version,
        "Port": port,
        "MasterUsername": PLANTED,
        "PreferredBackupWindow": "03:10-03:40",
        "PreferredMaintenanceWindow": "sun:04:32-sun:05:02",
        "ReadReplicaIdentifiers": [],
        "DBClusterMembers": [],
        "VpcSecurityGroups": _group(resource),
        "HostedZoneId": "Z2R2ITUGPM61AM",
        "StorageEncrypted": True,
        "DbClusterResourceId": "cluster-" + resource.hexid("dbi", 26).upper(),
        "DBClusterArn": resource.arn,
        "AssociatedRoles": [],
        "IAMDatabaseAuthenticationEnabled": False,
        "ClusterCreateTime": resource.created,
        "EngineMode": "provisioned",
        "DeletionProtection": True,
        "HttpEndpointEnabled": False,
        "ActivityStreamStatus": "stopped",
        "CopyTagsToSnapshot": True,
        "CrossAccountClone": False,
        "DomainMemberships": [],
        "TagList": _tags(resource),
        "AutoMinorVersionUpgrade": True,
        "NetworkType": "IPV4",
    }


def classic_load_balancer(resource: LabResource, region: Region) -> Shown:
    """A classic load balancer."""
    place, network = _subnet(resource, region)
    host = f"{resource.name}-{resource.seed % 10**10}.{resource.region}.elb.amazonaws.com"
    listener = {"Protocol": "HTTP", "LoadBalancerPort": 80, "InstanceProtocol": "HTTP", "InstancePort": 8080}
    return {
        "LoadBalancerName": resource.id,
        "DNSName": host,
        "CanonicalHostedZoneName": host,
        "CanonicalHostedZoneNameID": "Z35SXDOTRQ7X7K",
        "ListenerDescriptions": [{"Listener": listener, "PolicyNames": []}],
        "Policies": {
            "AppCookieStickinessPolicies": [{"PolicyName": "sticky", "CookieName": PLANTED}],
            "LBCookieStickinessPolicies": [],
            "OtherPolicies": [],
        },
        "BackendServerDescriptions": [],
        "AvailabilityZones": [_zone(resource)],
        "Subnets": [place],
        "VPCId": network,
        "Instances": [{"InstanceId": one.id} for one in region.of("ec2:instance")[:3]],
        "HealthCheck": {
            "Target": "HTTP:8080/health",
            "Interval": 30,
            "Timeout": 5,
            "UnhealthyThreshold": 2,
            "HealthyThreshold": 10,
        },
        "SourceSecurityGroup": {"OwnerAlias": resource.account, "GroupName": "default"},
        "SecurityGroups": ["sg-" + resource.hexid("group")],
        "CreatedTime": resource.created,
        "Scheme": "internet-facing",
    }


def load_balancer(resource: LabResource, region: Region) -> Shown:
    """An application, network or gateway load balancer."""
    kind = resource.kind.partition(":")[2]
    place, network = _subnet(resource, region)
    return {
        "LoadBalancerArn": resource.arn,
        "DNSName": f"{resource.name}-{resource.seed % 10**10}.{resource.region}.elb.amazonaws.com",
        "CanonicalHostedZoneId": "Z35SXDOTRQ7X7K",
        "CreatedTime": resource.created,
        "LoadBalancerName": resource.name,
        "Scheme": "internet-facing",
        "VpcId": network,
        "State": {"Code": resource.state or "active"},
        "Type": kind,
        "AvailabilityZones": [{"ZoneName": _zone(resource), "SubnetId": place, "LoadBalancerAddresses": []}],
        "IpAddressType": "ipv4",
        **({"SecurityGroups": ["sg-" + resource.hexid("group")]} if kind == "application" else {}),
    }


def eks_cluster(resource: LabResource, region: Region) -> Shown:
    """An EKS cluster."""
    place, network = _subnet(resource, region)
    return {
        "name": resource.id,
        "arn": resource.arn,
        "createdAt": resource.created,
        "version": resource.fleet.engine or "1.31",
        "endpoint": f"https://{resource.hexid('endpoint', 32).upper()}.gr7.{resource.region}.eks.amazonaws.com",
        "roleArn": f"arn:aws:iam::{resource.account}:role/eks-cluster",
        "resourcesVpcConfig": {
            "subnetIds": [place],
            "securityGroupIds": [],
            "clusterSecurityGroupId": "sg-" + resource.hexid("group"),
            "vpcId": network,
            "endpointPublicAccess": True,
            "endpointPrivateAccess": True,
            "publicAccessCidrs": ["0.0.0.0/0"],
        },
        "kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.20.0.0/16", "ipFamily": "ipv4"},
        "logging": {"clusterLogging": [{"types": ["api", "audit"], "enabled": False}]},
        "identity": {
            "oidc": {"issuer": f"https://oidc.eks.{resource.region}.amazonaws.com/id/{resource.hexid('oidc', 32)}"}
        },
        "status": resource.state or "ACTIVE",
        "certificateAuthority": {"data": PLANTED},
        "platformVersion": "eks.12",
        "tags": resource.tags,
        "health": {"issues": []},
        "accessConfig": {"authenticationMode": "API"},
        "upgradePolicy": {"supportType": "EXTENDED"},
    }


def nodegroup(resource: LabResource, region: Region) -> Shown:
    """A managed node group of an EKS cluster."""
    owner = resource.parent or resource
    place, _ = _subnet(resource, region)
    size = resource.fleet.size or 2
    return {
        "nodegroupName": resource.name,
        "nodegroupArn": resource.arn,
        "clusterName": owner.id,
        "version": owner.fleet.engine or "1.31",
        "releaseVersion": "1.31.0-20241109",
        "createdAt": owner.created + timedelta(minutes=15),
        "modifiedAt": owner.created + timedelta(days=2),
        "status": "ACTIVE",
        "capacityType": "ON_DEMAND",
        "scalingConfig": {"minSize": 1, "maxSize": 2 * size, "desiredSize": size},
        "instanceTypes": [resource.fleet.type or "m6i.large"],
        "subnets": [place],
        "amiType": "AL2023_x86_64_STANDARD",
        "nodeRole": f"arn:aws:iam::{resource.account}:role/eks-nodes",
        "diskSize": 20,
        "health": {"issues": []},
        "updateConfig": {"maxUnavailable": 1},
        "tags": resource.tags,
    }


def cache_cluster(resource: LabResource, _region: Region) -> Shown:
    """An ElastiCache cluster."""
    return {
        "CacheClusterId": resource.id,
        "ClientDownloadLandingPage": "https://console.aws.amazon.com/elasticache/home#client-download:",
        "CacheNodeType": resource.fleet.type or "cache.t4g.small",
        "Engine": resource.fleet.engine or "redis",
        "EngineVersion": "7.1.0",
        "CacheClusterStatus": resource.state or "available",
        "NumCacheNodes": resource.fleet.size or 1,
        "PreferredAvailabilityZone": _zone(resource),
        "CacheClusterCreateTime": resource.created,
        "PreferredMaintenanceWindow": "sun:06:30-sun:07:30",
        "PendingModifiedValues": {},
        "CacheSecurityGroups": [],
        "CacheSubnetGroupName": "default",
        "AutoMinorVersionUpgrade": True,
        "SnapshotRetentionLimit": 0,
        "SnapshotWindow": "03:30-04:30",
        "TransitEncryptionEnabled": True,
        "AtRestEncryptionEnabled": True,
        "ARN": resource.arn,
        "ReplicationGroupLogDeliveryEnabled": False,
        "LogDeliveryConfigurations": [],
        "NetworkType": "ipv4",
        "IpDiscovery": "ipv4",
    }


def redshift_cluster(resource: LabResource, region: Region) -> Shown:
    """A Redshift cluster."""
    _, network = _subnet(resource, region)
    return {
        "ClusterIdentifier": resource.id,
        "NodeType": resource.fleet.type or "ra3.xlplus",
        "ClusterStatus": resource.state or "available",
        "ClusterAvailabilityStatus": "Available",
        "MasterUsername": PLANTED,
        "DBName": "dev",
        "Endpoint": {
            "Address": f"{resource.id}.{resource.hexid('host', 12)}.{resource.region}.redshift.amazonaws.com",
            "Port": 5439,
        },
        "ClusterCreateTime": resource.created,
        "AutomatedSnapshotRetentionPeriod": 1,
        "ManualSnapshotRetentionPeriod": -1,
        "ClusterSecurityGroups": [],
        "VpcSecurityGroups": _group(resource),
        "ClusterParameterGroups": [{"ParameterGroupName": "default.redshift-1.0", "ParameterApplyStatus": "in-sync"}],
        "ClusterSubnetGroupName": "default",
        "VpcId": network,
        "AvailabilityZone": _zone(resource),
        "PreferredMaintenanceWindow": "sun:08:00-sun:08:30",
        "PendingModifiedValues": {"MasterUserPassword": PLANTED},
        "ClusterVersion": "1.0",
        "AllowVersionUpgrade": True,
        "NumberOfNodes": resource.fleet.size or 2,
        "PubliclyAccessible": False,
        "Encrypted": True,
        "Tags": _tags(resource),
        "EnhancedVpcRouting": False,
        "MaintenanceTrackName": "current",
        "ClusterNamespaceArn": resource.arn.replace(f"cluster:{resource.id}", f"namespace:{resource.hexid('ns', 32)}"),
    }


def dynamodb_table(resource: LabResource, _region: Region) -> Shown:
    """A DynamoDB table. Its tags come from ListTagsOfResource."""
    return {
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "TableName": resource.id,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "TableStatus": resource.state or "ACTIVE",
        "CreationDateTime": resource.created,
        "ProvisionedThroughput": {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
        "TableSizeBytes": resource.seed % 10**9,
        "ItemCount": resource.seed % 10**6,
        "TableArn": resource.arn,
        "TableId": resource.hexid("table", 32),
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        "DeletionProtectionEnabled": False,
    }


def file_system(resource: LabResource, _region: Region) -> Shown:
    """An EFS file system."""
    size = resource.seed % 10**11
    return {
        "OwnerId": resource.account,
        "CreationToken": f"{PLANTED}-{resource.index}",
        "FileSystemId": resource.id,
        "FileSystemArn": resource.arn,
        "CreationTime": resource.created,
        "LifeCycleState": resource.state or "available",
        "Name": resource.name,
        "NumberOfMountTargets": 3,
        "SizeInBytes": {"Value": size, "ValueInIA": 0, "ValueInStandard": size},
        "PerformanceMode": "generalPurpose",
        "Encrypted": True,
        "ThroughputMode": "bursting",
        "Tags": _tags(resource),
    }


def _without(resource: LabResource, shown: Shown) -> Shown:
    for key in resource.fleet.omit:
        shown.pop(key, None)
    return shown


WRITERS = {
    "ec2:instance": reservation,
    "ebs:volume": volume,
    "ec2:vpc": vpc,
    "ec2:subnet": subnet,
    "ec2:natgateway": nat_gateway,
    "rds:db": db_instance,
    "rds:cluster": db_cluster,
    "elb:classic": classic_load_balancer,
    "elbv2:application": load_balancer,
    "elbv2:network": load_balancer,
    "elbv2:gateway": load_balancer,
    "eks:cluster": eks_cluster,
    "eks:nodegroup": nodegroup,
    "elasticache:cluster": cache_cluster,
    "redshift:cluster": redshift_cluster,
    "dynamodb:table": dynamodb_table,
    "efs:filesystem": file_system,
}


def describe(resource: LabResource, region: Region) -> Shown:
    """What its Describe operation shows of a resource, without the keys that its fleet omits."""
    shown = WRITERS[resource.kind](resource, region)
    return shown if resource.kind == "ec2:instance" else _without(resource, shown)
