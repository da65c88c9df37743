/* ivories._native.StripFrontEnd: strip.h for Python. Callers pass checked numpy arrays; sizes are checked
 * again here, so that no mistake can reach beyond a buffer. */
#include <string.h>

#include "strip.h"
#include "types.h"

typedef struct {
  PyObject_HEAD strip *core;
  rest_spec spec;
  int width, height;
  int busy; /* a call is running without the interpreter lock */
} StripFrontEnd;

static Py_ssize_t pixels(const StripFrontEnd *self) {
  return (Py_ssize_t)self->spec.rows * self->spec.keys * self->spec.columns;
}

/* Borrow a C-contiguous buffer of exactly `bytes` bytes. */
static int borrow(PyObject *object, Py_buffer *view, int flags, Py_ssize_t bytes, const char *name) {
  if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | flags) < 0) return -1;
  if (view->len == bytes) return 0;
  PyErr_Format(PyExc_ValueError, "%s has %zd bytes, not %zd", name, view->len, bytes);
  PyBuffer_Release(view);
  return -1;
}

static int enter(StripFrontEnd *self) {
  if (!self->core) {
    PyErr_SetString(PyExc_RuntimeError, "the strip front end was not initialized");
    return -1;
  }
  if (self->busy) {
    PyErr_SetString(PyExc_RuntimeError, "the strip front end is in use by another thread");
    return -1;
  }
  return 0;
}

static int init(StripFrontEnd *self, PyObject *args, PyObject *keywords) {
  static char *names[] = {"spec", "width", "height", "corner", "weights", NULL};
  PyObject *spec, *corner, *weights;
  int width, height;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "OiiOO", names, &spec, &width, &height, &corner, &weights))
    return -1;
  if (self->core) {
    PyErr_SetString(PyExc_RuntimeError, "the strip front end is initialized already");
    return -1;
  }
  rest_spec s;
  long long tick, start, light;
  if (!PyArg_ParseTuple(spec, "iiiiiLLLiiiiiiiiiiii", &s.rows, &s.keys, &s.columns, &s.back_first,
                        &s.back_end, &tick, &start, &light, &s.still, &s.near, &s.busy, &s.jump,
                        &s.busy_permille, &s.scene_permille, &s.settle, &s.follow, &s.trust, &s.recover,
                        &s.replace, &s.ghost_permille))
    return -1;
  s.tick_ns = tick;
  s.start_ns = start;
  s.light_ns = light;
  if (s.rows < 1 || s.keys < 1 || s.columns < 1 || (int64_t)s.rows * s.keys * s.columns > 1 << 22 ||
      width < 4 || height < 4 || width > 65535 || height > 65535 || s.back_first < 0 || s.back_end > s.rows ||
      tick < 1 || light < 1 || start < 0 || s.follow < 1 || s.near < 0 || s.near > 32 || s.trust < 0 ||
      s.trust > 255 || s.recover > 255 || s.rows * s.columns > 65535) {
    PyErr_SetString(PyExc_ValueError, "strip front end: a size or time constant is out of range");
    return -1;
  }
  self->spec = s;
  self->width = width;
  self->height = height;
  Py_ssize_t n = pixels(self);
  Py_buffer at, weight;
  if (borrow(corner, &at, 0, n * 4, "corner") < 0) return -1;
  if (borrow(weights, &weight, 0, n * STRIP_TAPS, "weights") < 0) {
    PyBuffer_Release(&at);
    return -1;
  }
  self->core = strip_new(&self->spec, width, height, at.buf, weight.buf);
  PyBuffer_Release(&at);
  PyBuffer_Release(&weight);
  if (self->core) return 0;
  PyErr_SetString(PyExc_ValueError, "strip front end: a patch lies outside the picture, or memory is short");
  return -1;
}

static void dealloc(StripFrontEnd *self) {
  PyTypeObject *type = Py_TYPE((PyObject *)self);
  strip_free(self->core);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
}

static PyObject *push(StripFrontEnd *self, PyObject *args) {
  PyObject *picture, *target;
  long long t_ns;
  Py_buffer in, out;
  if (!PyArg_ParseTuple(args, "OLO", &picture, &t_ns, &target) || enter(self) < 0) return NULL;
  if (PyObject_GetBuffer(picture, &in, PyBUF_STRIDED_RO) < 0) return NULL;
  if (in.ndim != 2 || in.itemsize != 1 || in.shape[0] != self->height || in.shape[1] != self->width ||
      in.strides[1] != 1 || in.strides[0] > 1 << 16 || in.strides[0] < -(1 << 16)) {
    PyErr_Format(PyExc_ValueError, "the picture is not (%d, %d) bytes with adjacent pixels", self->height,
                 self->width);
    PyBuffer_Release(&in);
    return NULL;
  }
  if (borrow(target, &out, PyBUF_WRITABLE, pixels(self) * STRIP_CHANNELS, "out") < 0) {
    PyBuffer_Release(&in);
    return NULL;
  }
  bool complete;
  self->busy = 1;
  Py_BEGIN_ALLOW_THREADS;
  complete = strip_push(self->core, in.buf, in.strides[0], t_ns, out.buf);
  Py_END_ALLOW_THREADS;
  self->busy = 0;
  PyBuffer_Release(&in);
  PyBuffer_Release(&out);
  return PyBool_FromLong(complete);
}

/* Many frames at once: complete strips are written one after the other; returns their number. */
static PyObject *process(StripFrontEnd *self, PyObject *args) {
  PyObject *frames, *times, *target;
  int rectified;
  if (!PyArg_ParseTuple(args, "OOOp", &frames, &times, &target, &rectified) || enter(self) < 0) return NULL;
  Py_buffer in, t, out;
  if (PyObject_GetBuffer(times, &t, PyBUF_C_CONTIGUOUS) < 0) return NULL;
  Py_ssize_t count = t.len / (Py_ssize_t)sizeof(int64_t), n = pixels(self);
  Py_ssize_t picture = rectified ? n : (Py_ssize_t)self->width * self->height;
  if (borrow(frames, &in, 0, count * picture, "frames") < 0) {
    PyBuffer_Release(&t);
    return NULL;
  }
  if (borrow(target, &out, PyBUF_WRITABLE, count * n * STRIP_CHANNELS, "out") < 0) {
    PyBuffer_Release(&t);
    PyBuffer_Release(&in);
    return NULL;
  }
  Py_ssize_t written = 0;
  self->busy = 1;
  Py_BEGIN_ALLOW_THREADS;
  for (Py_ssize_t i = 0; i < count; i++) {
    const uint8_t *luma = (const uint8_t *)in.buf + i * picture;
    int8_t *to = (int8_t *)out.buf + written * n * STRIP_CHANNELS;
    int64_t t_ns;
    memcpy(&t_ns, (const char *)t.buf + i * (Py_ssize_t)sizeof t_ns, sizeof t_ns);
    written += rectified ? strip_push_rectified(self->core, luma, t_ns, to)
                         : strip_push(self->core, luma, self->width, t_ns, to);
  }
  Py_END_ALLOW_THREADS;
  self->busy = 0;
  PyBuffer_Release(&t);
  PyBuffer_Release(&in);
  PyBuffer_Release(&out);
  return PyLong_FromSsize_t(written);
}

static PyObject *reset(StripFrontEnd *self, PyObject *unused) {
  (void)unused;
  if (enter(self) < 0) return NULL;
  strip_reset(self->core);
  Py_RETURN_NONE;
}

static PyObject *set_rest(StripFrontEnd *self, PyObject *image) {
  Py_buffer in;
  if (enter(self) < 0 || borrow(image, &in, 0, pixels(self), "rest image") < 0) return NULL;
  rest_image_set(strip_rest(self->core), in.buf);
  PyBuffer_Release(&in);
  Py_RETURN_NONE;
}

/* Fill `image` with the rest image under the present light; False while there is none. */
static PyObject *get_rest(StripFrontEnd *self, PyObject *image) {
  Py_buffer out;
  if (enter(self) < 0 || borrow(image, &out, PyBUF_WRITABLE, pixels(self), "rest image") < 0) return NULL;
  rest_image_get(strip_rest(self->core), out.buf);
  PyBuffer_Release(&out);
  return PyBool_FromLong(rest_image_ready(strip_rest(self->core)));
}

static PyObject *get_luma(StripFrontEnd *self, PyObject *image) {
  Py_buffer out;
  if (enter(self) < 0 || borrow(image, &out, PyBUF_WRITABLE, pixels(self), "luma") < 0) return NULL;
  memcpy(out.buf, strip_luma(self->core), (size_t)pixels(self));
  PyBuffer_Release(&out);
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"push", (PyCFunction)push, METH_VARARGS, "push(picture, t_ns, out) -> bool: out filled"},
    {"process", (PyCFunction)process, METH_VARARGS,
     "process(frames, t_ns, out, rectified) -> strips written"},
    {"reset", (PyCFunction)reset, METH_NOARGS, "Forget everything seen."},
    {"set_rest", (PyCFunction)set_rest, METH_O, "Start from this rest image."},
    {"get_rest", (PyCFunction)get_rest, METH_O, "Fill the array with the rest image; False while unknown."},
    {"get_luma", (PyCFunction)get_luma, METH_O, "Fill the array with the newest rectified luma."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Picture to key-aligned strip; see ivories.vision.strip."},
    {Py_tp_init, (void *)init},
    {Py_tp_dealloc, (void *)dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec type_spec = {
    .name = "ivories._native.StripFrontEnd",
    .basicsize = sizeof(StripFrontEnd),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

int ivories_add_strip_frontend(PyObject *module) {
  PyObject *type = PyType_FromSpec(&type_spec);
  if (!type) return -1;
  int failed = PyModule_AddObjectRef(module, "StripFrontEnd", type);
  Py_DECREF(type);
  return failed < 0 ? -1 : PyModule_AddIntConstant(module, "STRIP_KERNEL_REVISION", STRIP_KERNEL_REVISION);
}
