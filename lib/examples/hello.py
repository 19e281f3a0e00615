"""hello.py LIBRARY TEXT-MODEL PROMPT: text out of libhearth from Python, through ctypes alone."""
import ctypes
import sys
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char, c_char_p, c_float, c_int, c_size_t, c_uint64, c_void_p, sizeof


class Error(Structure):
    _fields_ = [("code", c_int), ("message", c_char * 400)]


class Message(Structure):
    _fields_ = [("role", c_char_p), ("content", c_char_p)]


class Generate(Structure):
    _fields_ = [("size", c_size_t), ("prompt", c_char_p), ("messages", POINTER(Message)), ("n_messages", c_size_t), ("max_tokens", c_int), ("temperature", c_float),
                ("top_p", c_float), ("top_k", c_int), ("seed", c_uint64), ("stop", c_void_p), ("stop_strings", POINTER(c_char_p)), ("n_stop_strings", c_size_t)]


class Used(Structure):
    _fields_ = [("size", c_size_t), ("prompt_tokens", c_int), ("generated_tokens", c_int), ("finish", c_int)]


Piece = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)


class Hearth:
    """One engine and one text model."""

    def __init__(self, library, model, context=0):
        self.lib, self.error, self.engine, self.text = ctypes.CDLL(library), Error(), c_void_p(), c_void_p()
        self.check(self.lib.hearth_engine_open(byref(self.engine), 0, byref(self.error)))
        self.check(self.lib.hearth_text_load(byref(self.text), self.engine, model.encode(), context, byref(self.error)))

    def check(self, ok):
        if not ok:
            raise RuntimeError(self.error.message.decode())

    def generate(self, prompt=None, messages=(), each=lambda piece: True, **fields):
        """The whole text, and what was used; `each` sees every piece and cancels by saying no."""
        said = b""

        def take(_, piece, n):
            nonlocal said
            said += ctypes.string_at(piece, n)
            return 1 if each(ctypes.string_at(piece, n)) else 0
        rows = (Message * len(messages))(*[Message(role.encode(), content.encode()) for role, content in messages])
        ask = Generate(sizeof(Generate), prompt.encode() if prompt else None, rows if messages else None, len(messages), **fields)
        used = Used(sizeof(Used))
        self.check(self.lib.hearth_generate(self.text, byref(ask), Piece(take), None, byref(used), byref(self.error)))
        return said.decode(), used

    def close(self):
        self.lib.hearth_text_free(self.text)
        self.lib.hearth_engine_close(self.engine)


if __name__ == "__main__":
    h = Hearth(sys.argv[1], sys.argv[2])
    text, used = h.generate(sys.argv[3], max_tokens=8, seed=1)
    print(text)
    print(f"{used.generated_tokens} tokens behind {used.prompt_tokens}")
    h.close()
