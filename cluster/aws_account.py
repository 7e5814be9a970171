"""Sets up an AWS account for cluster.yaml: roles, instance profiles, a security group, and the nodes' image.

    python cluster/aws_account.py --bucket BUCKET --ssh-from 203.0.113.7/32

Needs boto3 (it is in `.[dev]`) and credentials that may write to IAM and EC2. Every call brings what is there to the
same state, so that it may be called again, with another address for instance. Names and region are cluster.yaml's.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import string
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

HERE = Path(__file__).resolve().parent
# AWS publishes one about every week, with its date at the end.
IMAGES = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) *"


class AccountError(Exception):
    """One sentence on what the account or the request lacks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, sets the account up, says what to do next; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--bucket", required=True, help="the bucket of the runs, which must exist")
    parser.add_argument("--prefix", default="refusion", help="folder in the bucket that nodes may read and write")
    parser.add_argument("--ssh-from", required=True, type=ssh_range, help="addresses that may reach the nodes by SSH")
    parser.add_argument("--image", help="name of the image; default: the one of the last call, at first the newest")
    parser.add_argument("--file", type=Path, default=HERE.parent / "cluster.yaml", help="the cluster's file")
    request = parser.parse_args(arguments)
    content = yaml.safe_load(request.file.read_text(encoding="utf-8"))
    try:
        said = set_up(content, request.bucket, request.prefix.strip("/"), request.ssh_from, request.image)
    except (AccountError, BotoCoreError, ClientError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print("\n".join([*said, f"now write {request.bucket} for BUCKET in {request.file.name}, and call `ray up`"]))
    return 0


def ssh_range(text: str) -> str:
    """Checks a range of addresses such as 203.0.113.7/32; not the whole internet.

    Raises:
        argparse.ArgumentTypeError: it is none, or wider than a /8.
    """
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; write ADDRESS/32 for one address") from error
    if network.prefixlen < 8:
        raise argparse.ArgumentTypeError(f"{text}: is open to most of the internet")
    return str(network)


def set_up(content: dict[str, Any], bucket: str, prefix: str, ssh_from: str, image: str | None) -> list[str]:
    """Brings the account to the state that the cluster's file needs; returns lines that say what stands now.

    Raises:
        AccountError: the bucket, a default VPC, or the image is not there.
    """
    provider, kinds = content["provider"], content["available_node_types"]
    region = provider["region"]
    roles = {name: kind["node_config"]["IamInstanceProfile"]["Name"] for name, kind in kinds.items()}
    head = roles.pop(content["head_node_type"])
    (worker,) = set(roles.values())
    parameter = kinds[content["head_node_type"]]["node_config"]["ImageId"].removeprefix("resolve:ssm:")
    try:
        boto3.client("s3", region_name=region).head_bucket(Bucket=bucket)
    except ClientError as error:
        raise AccountError(f"--bucket {bucket}: cannot be reached ({error}); make it, or name another") from error
    names = {
        "BUCKET": bucket,
        "PREFIX": prefix,
        "ACCOUNT": boto3.client("sts", region_name=region).get_caller_identity()["Account"],
        "CLUSTER": content["cluster_name"],
        "IMAGE_PARAMETER": parameter,
        "WORKER_ROLE": worker,
    }
    for role, file in ((head, "head.json"), (worker, "worker.json")):
        _write_role(role, policy(file, names))
    group = provider["security_group"]["GroupName"]
    _write_security_group(region, group, ssh_from)
    return [
        f"roles {head} and {worker}: may use s3://{bucket}/{prefix}",
        f"security group {group}: SSH from {ssh_from}, all between the nodes",
        f"image: {_keep_image(region, parameter, image)}",
    ]


def policy(file: str, names: dict[str, str]) -> str:
    """Returns a policy of the folder `policies` with its names filled in.

    Raises:
        KeyError: a name is missing.
    """
    return string.Template((HERE / "policies" / file).read_text(encoding="utf-8")).substitute(names)


def _write_role(role: str, document: str) -> None:
    """Makes a role that machines of EC2 may take, with this one policy, and an instance profile of the same name."""
    iam = boto3.client("iam")
    for make, arguments in (
        (iam.create_role, {"RoleName": role, "AssumeRolePolicyDocument": policy("trust.json", {})}),
        (iam.create_instance_profile, {"InstanceProfileName": role}),
    ):
        try:
            make(**arguments)
        except iam.exceptions.EntityAlreadyExistsException:
            continue
    iam.put_role_policy(RoleName=role, PolicyName="refusion", PolicyDocument=json.dumps(json.loads(document)))
    profile = iam.get_instance_profile(InstanceProfileName=role)["InstanceProfile"]
    if role not in [found["RoleName"] for found in profile["Roles"]]:
        iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)


def _write_security_group(region: str, name: str, ssh_from: str) -> None:
    """Makes the group in the default VPC, with two rules in and no other; Ray takes a group that has rules as it is."""
    ec2 = boto3.resource("ec2", region_name=region)
    vpcs = list(ec2.vpcs.filter(Filters=[{"Name": "is-default", "Values": ["true"]}]))
    if not vpcs:
        raise AccountError(f"{region}: there is no default VPC; make one by `aws ec2 create-default-vpc`")
    found = list(vpcs[0].security_groups.filter(Filters=[{"Name": "group-name", "Values": [name]}]))
    group = found[0] if found else vpcs[0].create_security_group(GroupName=name, Description="Ray cluster: nodes")
    # Without a rule meanwhile, never with more than the two.
    if group.ip_permissions:
        group.revoke_ingress(IpPermissions=group.ip_permissions)
    group.authorize_ingress(
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": ssh_from}]},
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group.id}]},
        ]
    )


def _keep_image(region: str, parameter: str, name: str | None) -> str:
    """Notes in a parameter of the account which image nodes start from; returns the image's ID and name."""
    ssm = boto3.client("ssm", region_name=region)
    try:
        kept: str | None = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        kept = None
    wanted = [{"Name": "name", "Values": [name or IMAGES]}]
    which: dict[str, Any] = {"Filters": wanted, "Owners": ["amazon"]} if name or not kept else {"ImageIds": [kept]}
    images = boto3.client("ec2", region_name=region).describe_images(**which)["Images"]
    if not images:
        raise AccountError(f"--image {name or kept or IMAGES}: {region} has no image of AWS's with this name")
    image = max(images, key=lambda found: str(found["CreationDate"]))
    if image["ImageId"] != kept:
        ssm.put_parameter(
            Name=parameter, Value=image["ImageId"], Type="String", DataType="aws:ec2:image", Overwrite=True
        )
    return f"{image['ImageId']} ({image['Name']})"


if __name__ == "__main__":
    sys.exit(main())
