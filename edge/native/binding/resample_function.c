/* ivories._native.resample: resample.h for Python. */
#include <string.h>

#include "resample.h"
#include "types.h"

/* Borrow a C-contiguous buffer of float32. */
static int borrow(PyObject *object, Py_buffer *view, int flags, const char *name) {
  if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags) < 0) return -1;
  if (view->format != NULL && strcmp(view->format, "f") == 0) return 0;
  PyErr_Format(PyExc_TypeError, "%s must hold float32", name);
  PyBuffer_Release(view);
  return -1;
}

static PyObject *py_resample(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *x_from, *filter_from, *out_to, *result = NULL;
  long long up, down, first;
  Py_buffer x = {0}, filter = {0}, out = {0};
  if (!PyArg_ParseTuple(args, "OOLLLO:resample", &x_from, &filter_from, &up, &down, &first, &out_to))
    return NULL;
  if (borrow(x_from, &x, 0, "x") < 0 || borrow(filter_from, &filter, 0, "filter") < 0 ||
      borrow(out_to, &out, PyBUF_WRITABLE, "out") < 0) {
    goto done;
  }
  const long long size = sizeof(float), length = x.len / size, weights = filter.len / size,
                  count = out.len / size;
  const long long limit = 1LL << 31; /* keeps the products below from overflowing */
  if (up < 1 || down < 1 || first < 0 || up > limit || down > limit || first > limit * limit / 2 ||
      count > limit || weights == 0 || weights % (4 * up) != 0) {
    PyErr_SetString(PyExc_ValueError, "the filter does not hold rows of 4 n taps for each phase");
    goto done;
  }
  const long long taps = weights / up;
  if (count > 0 && (first / up + (first % up + (count - 1) * down) / up) + taps > length) {
    PyErr_SetString(PyExc_ValueError, "x is too short for the outputs asked for");
    goto done;
  }
  Py_BEGIN_ALLOW_THREADS resample(x.buf, filter.buf, (int)taps, up, down, first, out.buf, (size_t)count);
  Py_END_ALLOW_THREADS result = Py_NewRef(Py_None);
done:
  PyBuffer_Release(&x);
  PyBuffer_Release(&filter);
  PyBuffer_Release(&out);
  return result;
}

static PyMethodDef functions[] = {
    {"resample", py_resample, METH_VARARGS,
     "resample(x, filter, up, down, first, out)\n\n"
     "x: float32 (n,); filter: float32 (up, taps); out: float32 (m,), filled. See resample.h."},
    {NULL, NULL, 0, NULL},
};

int ivories_add_resample(PyObject *module) { return PyModule_AddFunctions(module, functions); }
