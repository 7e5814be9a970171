"""cluster/aws_account.py against an account of moto's, and the policies that it writes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
import yaml
from clouds.account import ACCOUNT, BUCKET, IMAGE, REGION, account, publish_image

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "cluster" / "policies"
NAMES = {
    "BUCKET": BUCKET,
    "PREFIX": "refusion",
    "ACCOUNT": ACCOUNT,
    "CLUSTER": "refusion",
    "IMAGE_PARAMETER": "/refusion/image",
    "WORKER_ROLE": "refusion-worker",
}
OFFICE = "203.0.113.0/24"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("aws_account", ROOT / "cluster" / "aws_account.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def aws() -> Iterator[None]:
    with account():
        yield


def statements(program: ModuleType, file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(program.policy(file, NAMES))["Statement"]
    return found


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("file", ["head.json", "worker.json"])
def test_a_policy_allows_named_actions_on_named_things(program: ModuleType, file: str) -> None:
    for statement in statements(program, file):
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in listed(statement["Action"]))
        for resource in listed(statement["Resource"]):
            # What describes machines takes no resource (AWS's table of EC2's actions).
            assert resource.startswith("arn:aws:") or all(
                action.startswith("ec2:Describe") for action in listed(statement["Action"])
            )
            assert "$" not in resource


@pytest.mark.parametrize("file", ["head.json", "worker.json"])
def test_objects_are_those_of_the_prefix(program: ModuleType, file: str) -> None:
    of_s3 = {
        action: listed(statement["Resource"])
        for statement in statements(program, file)
        for action in listed(statement["Action"])
        if action.startswith("s3:")
    }
    assert {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"} <= of_s3.keys()
    assert of_s3.pop("s3:ListBucket") == [f"arn:aws:s3:::{BUCKET}"]
    assert all(resources == [f"arn:aws:s3:::{BUCKET}/refusion/*"] for resources in of_s3.values())


def test_workers_use_the_bucket_and_nothing_else(program: ModuleType) -> None:
    actions = {action for found in statements(program, "worker.json") for action in listed(found["Action"])}
    assert {action.split(":")[0] for action in actions} == {"s3"}


def test_the_head_passes_the_workers_role_alone_and_rules_its_own_machines(program: ModuleType) -> None:
    by_action: dict[str, list[dict[str, Any]]] = {}
    for statement in statements(program, "head.json"):
        for action in listed(statement["Action"]):
            by_action.setdefault(action, []).append(statement)
    (passing,) = by_action["iam:PassRole"]
    assert passing["Resource"] == f"arn:aws:iam::{ACCOUNT}:role/refusion-worker"
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    for action in ("ec2:StartInstances", "ec2:StopInstances", "ec2:TerminateInstances"):
        (ruling,) = by_action[action]
        assert ruling["Condition"] == {"StringEquals": {"aws:ResourceTag/ray-cluster-name": "refusion"}}
    starting = [found for found in by_action["ec2:RunInstances"] if f"{ACCOUNT}:instance/" in str(found["Resource"])]
    assert [found["Condition"] for found in starting] == [
        {"StringEquals": {"aws:RequestTag/ray-cluster-name": "refusion"}}
    ]


def call(program: ModuleType, *options: str) -> int:
    status: int = program.main(["--bucket", BUCKET, "--ssh-from", OFFICE, *options])
    return status


def test_calls_bring_an_account_to_one_state(
    program: ModuleType, aws: None, capsys: pytest.CaptureFixture[str]
) -> None:
    iam, ec2 = boto3.client("iam"), boto3.client("ec2", region_name=REGION)
    # As Ray leaves it behind: SSH from everywhere.
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    group = ec2.create_security_group(GroupName="refusion", Description="Ray's", VpcId=vpc["VpcId"])["GroupId"]
    everyone = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[everyone])
    for _ in range(2):
        assert call(program) == 0
        for role, file in (("refusion-head", "head.json"), ("refusion-worker", "worker.json")):
            kept = iam.get_role_policy(RoleName=role, PolicyName="refusion")["PolicyDocument"]
            assert kept == json.loads(program.policy(file, NAMES))
            assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["refusion"]
            assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
            profile = iam.get_instance_profile(InstanceProfileName=role)["InstanceProfile"]
            assert [found["RoleName"] for found in profile["Roles"]] == [role]
        (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        ssh, own = sorted(found["IpPermissions"], key=lambda rule: str(rule["IpProtocol"]), reverse=True)
        assert [entry["CidrIp"] for entry in ssh["IpRanges"]] == [OFFICE]
        assert (ssh["FromPort"], ssh["ToPort"], ssh["UserIdGroupPairs"]) == (22, 22, [])
        assert own["IpProtocol"] == "-1" and own["IpRanges"] == []
        assert [pair["GroupId"] for pair in own["UserIdGroupPairs"]] == [group]
    said = capsys.readouterr().out
    assert f"s3://{BUCKET}/refusion" in said and OFFICE in said and f"{IMAGE} 20261001" in said


def test_an_image_stays_until_another_is_named(
    program: ModuleType, aws: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def kept() -> str:
        return str(boto3.client("ssm", region_name=REGION).get_parameter(Name="/refusion/image")["Parameter"]["Value"])

    assert call(program) == 0
    first = kept()
    newer = publish_image(f"{IMAGE} 20261101", "2026-11-01")
    assert call(program) == 0
    assert kept() == first
    assert call(program, "--image", f"{IMAGE} 20261101") == 0
    assert kept() == newer
    assert call(program, "--image", "No such image") == 2
    assert kept() == newer
    assert "No such image" in capsys.readouterr().err


def test_a_bucket_that_is_not_there_is_named(
    program: ModuleType, aws: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["--bucket", "not-there", "--ssh-from", OFFICE]) == 2
    assert "--bucket not-there" in capsys.readouterr().err
    assert boto3.client("iam").list_roles()["Roles"] == []


@pytest.mark.parametrize("text", ["0.0.0.0/0", "203.0.113.7/24", "here", "0.0.0.0/1"])
def test_ssh_is_not_opened_to_everybody(program: ModuleType, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        program.main(["--bucket", BUCKET, "--ssh-from", text])
    assert left.value.code == 2
    assert "--ssh-from" in capsys.readouterr().err


def test_policies_are_filled_in_by_names_that_are_known() -> None:
    files = {file.name for file in POLICIES.iterdir()}
    assert files == {"head.json", "worker.json", "trust.json"}
    content = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    assert content["cluster_name"] == NAMES["CLUSTER"]
