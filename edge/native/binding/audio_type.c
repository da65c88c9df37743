/* ivories._native.AudioFrontEnd and the constants that belong to it. */
#include <string.h>

#include "audio_frontend.h"
#include "types.h"

typedef struct {
  PyObject_HEAD audio_frontend *frontend;
  int busy; /* a push is under way with the interpreter lock released */
} Object;

/* A contiguous buffer of `format`, or NULL data and TypeError set: "<name> must be ...". */
static int get_buffer(PyObject *source, Py_buffer *view, const char *format, const char *name, int writable) {
  const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
  if (PyObject_GetBuffer(source, view, flags) < 0) return -1;
  if (view->format != NULL && strcmp(view->format, format) == 0) return 0;
  PyErr_Format(PyExc_TypeError, "%s must hold items of format '%s', not '%s'", name, format,
               view->format != NULL ? view->format : "B");
  PyBuffer_Release(view);
  return -1;
}

enum { TABLES = 4 };

/* Fill `window` from (size, window, start, count, weights); the views stay until the tables are copied. */
static int read_window(PyObject *item, int bands, audio_window *window, Py_buffer views[TABLES]) {
  static const char *const format[TABLES] = {"f", "i", "i", "f"};
  static const char *const name[TABLES] = {"window", "start", "count", "weights"};
  PyObject *source[TABLES];
  if (!PyTuple_Check(item)) {
    PyErr_SetString(PyExc_TypeError, "each window must be a tuple (size, window, start, count, weights)");
    return -1;
  }
  if (!PyArg_ParseTuple(item, "iOOOO", &window->size, &source[0], &source[1], &source[2], &source[3]))
    return -1;
  for (int i = 0; i < TABLES; ++i) {
    if (get_buffer(source[i], &views[i], format[i], name[i], 0) < 0) return -1;
  }
  window->length = (int)(views[0].len / (Py_ssize_t)sizeof(float));
  window->window = views[0].buf;
  window->start = views[1].buf;
  window->count = views[2].buf;
  window->weights = views[3].buf;
  const Py_ssize_t rows = (Py_ssize_t)sizeof(int32_t) * bands;
  Py_ssize_t weights = 0;
  if (views[1].len == rows && views[2].len == rows) {
    for (int b = 0; b < bands; ++b) {
      if (window->count[b] < 1 || window->count[b] > window->size) break;
      weights += window->count[b];
    }
  }
  if (weights == 0 || weights * (Py_ssize_t)sizeof(float) != views[3].len) {
    PyErr_SetString(PyExc_ValueError, "start, count and weights do not describe the same bands");
    return -1;
  }
  return 0;
}

static audio_frontend *read_spec(PyObject *args, PyObject *kwargs) {
  static char *keywords[] = {"hop", "bands", "windows", "circle", "step", "floor", "release", NULL};
  audio_spec spec = {0};
  PyObject *list, *circle;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iiO!Offf:AudioFrontEnd", keywords, &spec.hop, &spec.bands,
                                   &PyTuple_Type, &list, &circle, &spec.step, &spec.floor, &spec.release)) {
    return NULL;
  }
  const Py_ssize_t windows = PyTuple_Size(list);
  if (windows < 1 || windows > 64 || spec.bands < 1 || spec.bands > 65536) {
    PyErr_SetString(PyExc_ValueError, "an audio front end needs 1 to 64 windows and 1 to 65536 bands");
    return NULL;
  }
  audio_frontend *frontend = NULL;
  const char *error = NULL;
  Py_buffer circle_view = {0};
  audio_window *window = PyMem_Calloc((size_t)windows, sizeof *window);
  Py_buffer(*views)[TABLES] = PyMem_Calloc((size_t)windows, sizeof *views);
  if (window == NULL || views == NULL) {
    PyErr_NoMemory();
    goto done;
  }
  for (Py_ssize_t i = 0; i < windows; ++i) {
    if (read_window(PyTuple_GetItem(list, i), spec.bands, &window[i], views[i]) < 0) goto done;
  }
  if (get_buffer(circle, &circle_view, "f", "circle", 0) < 0) goto done;
  spec.windows = (int)windows;
  spec.window = window;
  spec.circle = circle_view.buf;
  spec.points = (int)(circle_view.len / (Py_ssize_t)(2 * sizeof(float)));
  frontend = audio_frontend_new(&spec, &error);
  if (frontend == NULL && error != NULL) PyErr_SetString(PyExc_ValueError, error);
  if (frontend == NULL && error == NULL) PyErr_NoMemory();
done:
  /* A view that was never taken has no object, and releasing it does nothing. */
  if (circle_view.obj != NULL) PyBuffer_Release(&circle_view);
  for (Py_ssize_t i = 0; views != NULL && i < windows; ++i) {
    for (int j = 0; j < TABLES; ++j) PyBuffer_Release(&views[i][j]);
  }
  PyMem_Free(views);
  PyMem_Free(window);
  return frontend;
}

static PyObject *type_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  audio_frontend *frontend = read_spec(args, kwargs);
  if (frontend == NULL) return NULL;
  allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  Object *self = (Object *)allocate(type, 0);
  if (self == NULL) {
    audio_frontend_free(frontend);
    return NULL;
  }
  self->frontend = frontend;
  return (PyObject *)self;
}

static void type_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  audio_frontend_free(((Object *)self)->frontend);
  ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
  Py_DECREF(type);
}

static int refuse_if_busy(const Object *self) {
  if (self->busy) PyErr_SetString(PyExc_RuntimeError, "this audio front end is at work in another thread");
  return self->busy;
}

static PyObject *due(PyObject *self, PyObject *count) {
  const Py_ssize_t n = PyLong_AsSsize_t(count);
  if (n == -1 && PyErr_Occurred()) return NULL;
  if (n < 0) {
    PyErr_SetString(PyExc_ValueError, "a number of samples cannot be negative");
    return NULL;
  }
  return PyLong_FromSize_t(audio_frontend_due(((Object *)self)->frontend, (size_t)n));
}

static PyObject *reset(PyObject *self, PyObject *unused) {
  (void)unused;
  if (refuse_if_busy((Object *)self)) return NULL;
  audio_frontend_reset(((Object *)self)->frontend);
  Py_RETURN_NONE;
}

/* Samples (or how many zeros), and where the results go; the sizes must be exactly those due. */
static PyObject *push(PyObject *self, PyObject *args) {
  Object *object = (Object *)self;
  PyObject *source, *bins_to, *level_to;
  Py_buffer samples = {0}, bins = {0}, level = {0};
  PyObject *result = NULL;
  Py_ssize_t count;
  if (!PyArg_ParseTuple(args, "OOO:push", &source, &bins_to, &level_to)) return NULL;
  if (PyLong_Check(source)) {
    count = PyLong_AsSsize_t(source);
    if (count == -1 && PyErr_Occurred()) return NULL;
    if (count < 0) return PyErr_SetString(PyExc_ValueError, "a number of samples cannot be negative"), NULL;
  } else {
    if (get_buffer(source, &samples, "f", "samples", 0) < 0) return NULL;
    count = samples.len / (Py_ssize_t)sizeof(float);
  }
  if (get_buffer(bins_to, &bins, "b", "bins", 1) < 0) goto done;
  if (get_buffer(level_to, &level, "f", "level", 1) < 0) goto done;
  if (refuse_if_busy(object)) goto done;
  const size_t frames = audio_frontend_due(object->frontend, (size_t)count);
  if ((size_t)bins.len != frames * audio_frontend_values(object->frontend) ||
      (size_t)level.len != frames * sizeof(float)) {
    PyErr_Format(PyExc_ValueError, "bins and level must have room for exactly %zu spectra", frames);
    goto done;
  }
  object->busy = 1;
  Py_BEGIN_ALLOW_THREADS audio_frontend_push(object->frontend, samples.buf, (size_t)count, bins.buf,
                                             level.buf);
  Py_END_ALLOW_THREADS object->busy = 0;
  result = PyLong_FromSize_t(frames);
done:
  PyBuffer_Release(&samples);
  PyBuffer_Release(&bins);
  PyBuffer_Release(&level);
  return result;
}

static PyMethodDef methods[] = {
    {"due", due, METH_O, "due(count) -> how many spectra a push of count samples completes"},
    {"push", push, METH_VARARGS,
     "push(samples, bins, level) -> spectra written\n\n"
     "samples: float32 (n,), or n as an int for n zeros; bins: int8 (due, bands, windows);\n"
     "level: float32 (due,). The interpreter lock is released."},
    {"reset", reset, METH_NOARGS, "Forget all samples."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, (void *)type_new},
    {Py_tp_dealloc, (void *)type_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_doc, "AudioFrontEnd(hop, bands, windows, circle, step, floor, release): see audio_frontend.h."},
    {0, NULL},
};

static PyType_Spec type_spec = {
    .name = "ivories._native.AudioFrontEnd",
    .basicsize = sizeof(Object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int ivories_add_audio_frontend(PyObject *module) {
  PyObject *type = PyType_FromModuleAndSpec(module, &type_spec, NULL);
  if (type == NULL) return -1;
  const int status = PyModule_AddType(module, (PyTypeObject *)type);
  Py_DECREF(type);
  if (status < 0) return -1;
  if (PyModule_AddStringConstant(module, "SIMD", audio_frontend_simd()) < 0) return -1;
  return PyModule_AddIntConstant(module, "AUDIO_KERNEL_REVISION", AUDIO_KERNEL_REVISION);
}
