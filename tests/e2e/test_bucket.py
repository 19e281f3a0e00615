"""Pictures that are kept in a bucket: a server of S3's protocol that checks signatures (moto), there, away and back."""
import base64
import os
import socket
import subprocess
import sys
import time

import boto3
import pytest
import requests

from conftest import KEY, PATIENCE, ROOT, Server, environment

pytestmark = pytest.mark.checked
DRAWS = str(ROOT / "tests/golden/pipelines/sdxl")  # a network of a few thousand weights
AUTH = {"Authorization": f"Bearer {KEY}"}


class Bucket:
    """A process, so that it can be ended and begun again; what it has is then gone, as it keeps it in memory."""

    def __init__(self, port):
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        self.start()

    def client(self, kind, key="setup", secret="setup"):
        return boto3.client(kind, endpoint_url=self.url, region_name="eu-west-1", aws_access_key_id=key, aws_secret_access_key=secret)

    def start(self):
        # The first four calls make a user and his bucket; from then on every signature is checked.
        self.process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "4"})
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE).close()
                break
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, "the bucket's server did not start"
                time.sleep(0.05)
        iam = self.client("iam")
        iam.create_user(UserName="hearth")
        pair = iam.create_access_key(UserName="hearth")["AccessKey"]
        self.key, self.secret = pair["AccessKeyId"], pair["SecretAccessKey"]
        iam.put_user_policy(UserName="hearth", PolicyName="all", PolicyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}')
        self.client("s3").create_bucket(Bucket="pictures", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    def objects(self):
        return [x["Key"] for x in self.client("s3", self.key, self.secret).list_objects_v2(Bucket="pictures").get("Contents", [])]

    def stop(self):
        self.process.kill()
        self.process.wait(PATIENCE)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def bucket():
    b = Bucket(free_port())
    yield b
    b.stop()


def start(bucket, key=None, secret=None, where="s3://pictures/hearth/files", *args):
    return Server("--keys", KEY, "--files", where, "--s3-endpoint", bucket.url, "--s3-region", "eu-west-1", *args, DRAWS, models="/nonexistent",
                  environ={"HEARTH_S3_KEY": key or bucket.key, "HEARTH_S3_SECRET": secret or bucket.secret})


def draw(server, **fields):
    return server.post("/v1/images/generations", {"model": "sdxl", "prompt": "a", "size": "64x64", "seed": 7, "steps": 1, "response_format": "url", **fields}, headers=AUTH)


def test_pictures_go_there_and_come_back(bucket):
    server = start(bucket)
    r = draw(server)
    assert r.status_code == 200, r.text
    url = r.json()["data"][0]["url"]
    name = url.rsplit("/", 1)[1]
    assert bucket.objects() == [f"hearth/files/{name}"]
    got = requests.get(url, timeout=PATIENCE)
    assert got.status_code == 200 and got.headers["Content-Type"].startswith("image/")
    plain = draw(server, response_format="b64_json").json()["data"][0]["b64_json"]
    assert base64.b64decode(plain) == got.content
    part = requests.get(url, headers={"Range": "bytes=2-5"}, timeout=PATIENCE)
    assert part.status_code == 206 and part.content == got.content[2:6]
    stored = bucket.client("s3", bucket.key, bucket.secret).get_object(Bucket="pictures", Key=f"hearth/files/{name}")
    assert stored["ContentType"] == got.headers["Content-Type"] and stored["Body"].read() == got.content
    assert server.get("/files/" + "0" * 32 + ".png").status_code == 404
    assert server.get("/files/secret.png").status_code == 404
    assert server.get("/ready").json() == {"ready": True}
    # Another server over the same bucket gives it out too; one for which it is too old does not.
    other = start(bucket)
    assert other.get(f"/files/{name}").content == got.content
    other.stop()
    server.stop()


def test_away_and_back():
    bucket = Bucket(free_port())
    server = start(bucket)
    assert draw(server).status_code == 200
    bucket.stop()
    r = draw(server)
    assert r.status_code == 503 and int(r.headers["Retry-After"]) > 0 and r.json()["error"]["message"], r.text
    assert server.get("/files/" + "0" * 32 + ".png").status_code == 503
    assert server.get("/ready").json() == {"ready": True, "away": ["files"]}
    assert draw(server, response_format="b64_json").status_code == 200, "who wants no URL needs no bucket"
    server.wait_log("is away")
    bucket.start()
    server.stop()
    server = start(bucket)  # the user's keys are new ones
    assert draw(server).status_code == 200
    assert len(bucket.objects()) == 1
    server.stop()
    bucket.stop()


def test_it_heals_by_itself(bucket):
    """A bucket that is not there yet, and then is."""
    server = start(bucket, where="s3://later")
    assert draw(server).status_code == 503
    server.wait_log("NoSuchBucket")
    bucket.client("s3", bucket.key, bucket.secret).create_bucket(Bucket="later", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    server.wait_until(lambda: draw(server).status_code == 200, "it is not back")
    server.wait_log("is back")
    assert server.get("/ready").json() == {"ready": True}
    server.stop()


def test_a_wrong_secret(bucket):
    server = start(bucket, secret="x" * 40)
    assert draw(server).status_code == 503
    server.wait_log("HTTP status 403")
    assert "x" * 40 not in "".join(server.log)
    server.stop()


@pytest.mark.parametrize("args, words", [
    (["--files", "s3://Pictures"], "a bucket's name is"),
    (["--files", "s3://pictures/../x"], "behind the bucket stand"),
    (["--files", "s3://pictures", "--s3-endpoint", "nowhere"], "s3-endpoint must be a URL"),
    (["--files", "s3://pictures"], "needs s3-key and s3-secret"),
])
def test_settings_that_cannot_be(args, words):
    with pytest.raises(RuntimeError, match=words):
        Server(*args, DRAWS, models="/nonexistent")
