"""Where pictures come from: C2PA manifests in every kind of file as the project's own reader (c2pa-python) sees them, the operator's certificate, and
`hearth verify` on pictures that were changed, stripped, cut off, or signed by somebody else."""
import base64
import io
import json
import subprocess

import c2pa
import pytest
from PIL import Image

from certificates import openssl
from conftest import BIN, PATIENCE, ROOT, Server, environment

DRAW = {"model": "starter", "prompt": "a red apple", "size": "128x128", "steps": 1, "seed": 7}
KINDS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def data_folder(folder):
    """A folder of models with the starter image model in it, and room beside it."""
    models = folder / "data/models"
    models.mkdir(parents=True)
    (models / "starter").symlink_to(ROOT / "models/starter-image")
    return models


def draw(server, **fields):
    r = server.post("/v1/images/generations", DRAW | {"response_format": "b64_json"} | fields)
    assert r.status_code == 200, r.text
    return base64.b64decode(r.json()["data"][0]["b64_json"])


def read(data, mime, trust=None):
    """What the reference reader says: the state, and the active manifest."""
    settings = {"verify": {"verify_trust": trust is not None}, "trust": {"trust_anchors": trust} if trust else {}}
    with c2pa.Context.from_dict(settings) as context, c2pa.Reader(mime, io.BytesIO(data), context=context) as r:
        got = json.loads(r.json())
        return r.get_validation_state(), got["manifests"][got["active_manifest"]]


def verify(*files, models, args=()):
    return subprocess.run([BIN, "verify", "--models", models, *args, *files], capture_output=True, text=True, timeout=PATIENCE,
                          env=environment() | {"HEARTH_CONFIG": "/dev/null"})


def certify(folder, kind, purpose="emailProtection"):
    """A key of an operator, and its certificate under an authority: (certificate with what stands between, key, root)."""
    root, root_key, key, request, cert = (folder / x for x in ("root.pem", "root.key", "own.key", "own.csr", "own.pem"))
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", root_key)
    openssl("req", "-x509", "-new", "-key", root_key, "-out", root, "-days", 3000, "-subj", "/O=Example/CN=a root", "-addext", "keyUsage=critical,keyCertSign")
    openssl("genpkey", *kind, "-out", key)
    key.chmod(0o600)
    openssl("req", "-new", "-key", key, "-out", request, "-subj", "/O=Example Press/CN=the picture desk")
    (folder / "ext").write_text(f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={purpose}\n"
                                "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
    openssl("x509", "-req", "-in", request, "-CA", root, "-CAkey", root_key, "-set_serial", 7, "-days", 2000, "-extfile", folder / "ext", "-out", cert)
    return cert, key, root


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return data_folder(tmp_path_factory.mktemp("signed"))


@pytest.fixture(scope="module")
def server(place):
    s = Server("--no-preload", models=str(place))
    yield s
    s.stop()


def test_the_reference_reads_it(server, place):
    root = (place.parent / "c2pa/root.pem").read_text()
    for kind, mime in KINDS.items():
        data = draw(server, output_format=kind)
        state, manifest = read(data, mime, root)
        assert state == "Trusted", kind
        assert manifest["claim_generator_info"][0]["name"] == "hearth" and manifest["signature_info"]["alg"] == "Ed25519"
        [action] = next(a for a in manifest["assertions"] if a["label"] == "c2pa.actions.v2")["data"]["actions"]
        assert action["action"] == "c2pa.created" and action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
        assert action["description"].endswith("/models/starter")
        assert read(data, mime)[0] == "Valid"
        assert data == draw(server, output_format=kind)  # the same seed, the same bytes
    assert (place.parent / "c2pa/signer.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.checked
def test_verified(server, place, tmp_path):
    files = [tmp_path / f"a.{kind}" for kind in KINDS]
    for f, kind in zip(files, KINDS):
        f.write_bytes(draw(server, output_format=kind))
    r = verify(*files, models=place)
    assert r.returncode == 0, r
    for line, f in zip(r.stdout.splitlines(), files, strict=True):
        assert line.startswith(f"{f}: unchanged, signed by hearth pictures (hearth); made by hearth ") and line.endswith("(trainedAlgorithmicMedia)")
    [got] = [json.loads(x) for x in verify(files[0], models=place, args=["--json"]).stdout.splitlines()]
    assert got["verdict"] == "signed" and got["digital_source_type"] == "trainedAlgorithmicMedia"


@pytest.mark.checked
def test_bad_ones(server, place, tmp_path):
    png = draw(server)
    picture = Image.open(io.BytesIO(png))
    assert picture.text["prompt"] == DRAW["prompt"] and picture.text["seed"] == "7"  # both notes are there
    stripped = io.BytesIO()
    picture.save(stripped, "PNG")
    changed = bytearray(png)
    changed[-40] ^= 1
    elsewhere = data_folder(tmp_path)
    (tmp_path / "other").mkdir()
    other = Server("--no-preload", models=str(elsewhere))
    foreign = draw(other)
    other.stop()
    assert Image.open(io.BytesIO(foreign)).tobytes() == picture.tobytes()  # the same seed, the same pixels
    for data, words in ((stripped.getvalue(), "carries no C2PA manifest"), (changed, "was changed after it was signed"), (png[:-100], "damaged or cut off"),
                        (png[:3000], "damaged or cut off"), (foreign, "leads to none that is known here"), (b"", "no PNG, JPEG or WebP")):
        f = tmp_path / "x.png"
        f.write_bytes(data)
        r = verify(f, models=place)
        assert r.returncode == 1 and words in r.stdout and len(r.stdout.splitlines()) == 1, r
    assert verify(f, tmp_path / "x.png", tmp_path / "missing.png", models=place).stdout.splitlines()[2].endswith("No such file or directory")
    f.write_bytes(foreign)
    assert verify(f, models=place, args=["--c2pa-trust", str(elsewhere.parent / "c2pa/root.pem")]).returncode == 0
    assert verify(f, models=elsewhere).returncode == 0
    r = verify(f, models=tmp_path / "none/models")  # where nothing was ever drawn nobody is known
    assert r.returncode == 1 and "known here" in r.stdout
    assert verify(models=place).returncode == 2 and verify(f, models=place, args=["--c2pa-trust", "/dev/null"]).returncode == 2


@pytest.mark.parametrize("kind", [("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"), ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
                                  ("-algorithm", "ed25519")], ids=["P-256", "P-384", "Ed25519"])
def test_the_operators(place, tmp_path, kind):
    cert, key, root = certify(tmp_path, kind)
    s = Server("--no-preload", "--c2pa-cert", str(cert), "--c2pa-key", str(key), models=str(place))
    data, again = draw(s), draw(s)
    s.stop()
    assert data == again
    state, manifest = read(data, "image/png", root.read_text())
    assert state == "Trusted" and manifest["signature_info"]["common_name"] == "the picture desk"
    f = tmp_path / "a.png"
    f.write_bytes(data)
    r = verify(f, models=place, args=["--c2pa-trust", root])
    assert r.returncode == 0 and "unchanged, signed by the picture desk (Example Press)" in r.stdout, r
    assert verify(f, models=place).returncode == 1


def test_others_programs(place, tmp_path):
    """What the reference writes is read here, and its changes noticed."""
    cert, key, root = certify(tmp_path, ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=cert.read_bytes(), private_key=key.read_bytes(), ta_url=None)
    definition = {"claim_generator_info": [{"name": "another program", "version": "1"}], "assertions": [
        {"label": "c2pa.actions", "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"}]}}]}
    for mime, kind in (("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP")):
        plain, out = io.BytesIO(), io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(plain, kind)
        plain.seek(0)
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(definition) as builder:
            builder.sign(signer, mime, plain, out)
        f = tmp_path / f"other.{kind}"
        f.write_bytes(out.getvalue())
        r = verify(f, models=place, args=["--c2pa-trust", root])
        assert r.returncode == 0 and "made by another program 1" in r.stdout and "(digitalCapture)" in r.stdout, (kind, r)
        f.write_bytes(out.getvalue()[:-5] + b"x" + out.getvalue()[-4:])
        assert verify(f, models=place, args=["--c2pa-trust", root]).returncode == 1


def refuses(place, *args):
    r = subprocess.run([BIN, "serve", "--listen", "127.0.0.1:0", "--models", place, *args], capture_output=True, text=True, timeout=PATIENCE,
                       env=environment() | {"HEARTH_CONFIG": "/dev/null"})
    assert r.returncode != 0
    return r.stderr


def test_settings(place, tmp_path):
    cert, key, _ = certify(tmp_path, ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"))
    assert "neither Ed25519 nor ECDSA" in refuses(place, "--c2pa-cert", cert, "--c2pa-key", key)
    assert "c2pa-key is missing" in refuses(place, "--c2pa-cert", cert)
    assert "is not the key of the first certificate" in refuses(place, "--c2pa-cert", cert, "--c2pa-key", place.parent / "c2pa/signer.pem")
    (tmp_path / "web").mkdir()
    cert, key, _ = certify(tmp_path / "web", ("-algorithm", "ed25519"), "serverAuth")
    assert "extendedKeyUsage" in refuses(place, "--c2pa-cert", cert, "--c2pa-key", key)
    s = Server("--no-preload", "--c2pa=no", models=str(place))
    data = draw(s)
    s.stop()
    assert b"caBX" not in data and Image.open(io.BytesIO(data)).text["model"]


def test_no_folder_for_it(place, tmp_path):
    models = data_folder(tmp_path)
    (models.parent / "c2pa").write_text("in the way")
    s = Server("--no-preload", models=str(models))
    s.wait_log("pictures are not signed (C2PA)")
    data = draw(s)
    s.stop()
    assert b"caBX" not in data
