"""Delegate libraries built for tests: an Edge TPU's stranger, in its different moods."""

import shutil
import subprocess

# A delegate that takes no operator leaves the network to the CPU: enough to go the whole way through.
SOURCE = """
#include <stdlib.h>
#include <unistd.h>
struct delegate { void *data; int (*prepare)(void *, struct delegate *); void *rest[8]; };
static int prepare(void *context, struct delegate *self) { (void)context; (void)self; return 0; }
void *tflite_plugin_create_delegate(char **k, char **v, size_t n, void (*report)(const char *)) {
  (void)k; (void)v; (void)n; (void)report; (void)prepare;
  %s
}
void tflite_plugin_destroy_delegate(void *delegate) { free(delegate); }
"""
MOODS = {
    "works": "struct delegate *d = calloc(1, sizeof *d); d->prepare = prepare; return d;",
    "crashes": "abort();",
    "hangs": "for (;;) sleep(1);",
    "refuses": 'report("no device on the bus"); return NULL;',
}


def build_delegate(folder, mood):
    """Return the path of a delegate library in ``folder`` with the mood named."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed to build Ivories at all"
    source, library = folder / f"{mood}.c", folder / f"lib{mood}.so"
    source.write_text(SOURCE % MOODS[mood])
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return str(library)
