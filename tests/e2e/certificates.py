"""An authority of a test's own, made with openssl, and certificates that it signs."""
import subprocess


def openssl(*args, **kw):
    return subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, **kw).stdout


class Authority:
    """`ca` is the file that clients trust."""

    def __init__(self, folder):
        self.folder, self.ca, self.key = folder, folder / "ca.pem", folder / "ca.key"
        openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", self.key)
        openssl("req", "-x509", "-new", "-key", self.key, "-out", self.ca, "-days", 30, "-subj", "/CN=the test's authority",
                "-addext", "keyUsage=critical,keyCertSign")
        self.n = 0

    def sign(self, name="server", days=90, start=None, end=None, kind="ec", own="localhost"):
        """A certificate and its key, for localhost and 127.0.0.1; start and end as 20200101000000Z."""
        self.n += 1
        cert, key, request = (self.folder / f"{name}.{x}" for x in ("pem", "key", "csr"))
        if kind == "ec":
            openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key)
        else:
            openssl("genrsa", "-out", key, 2048)
        key.chmod(0o600)
        openssl("req", "-new", "-key", key, "-out", request, "-subj", f"/CN={own}")
        more = f"subjectAltName=DNS:{own},IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"
        if start or end:
            home = self.folder / f"ca{self.n}"
            home.mkdir()
            (home / "index").write_text("")
            (home / "conf").write_text(f"[ca]\ndefault_ca=a\n[a]\nnew_certs_dir={home}\ndatabase={home}/index\nrand_serial=yes\ndefault_md=sha256\n"
                                       f"policy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\n{more}")
            openssl("ca", "-batch", "-config", home / "conf", "-cert", self.ca, "-keyfile", self.key, "-in", request, "-out", cert, "-notext",
                    "-startdate", start or "20200101000000Z", "-enddate", end or "20990101000000Z")
        else:
            conf = self.folder / f"{name}.ext"
            conf.write_text(more)
            openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key, "-set_serial", self.n, "-days", days, "-sha256", "-extfile", conf, "-out", cert)
        return cert, key
