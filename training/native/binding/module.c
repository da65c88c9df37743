/* ivories_training._native: the renderer, bound through the stable ABI. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../scene.h"

typedef struct {
  PyObject *object;
  const char *name;
  int writable;
  Py_ssize_t item; /* bytes of one element, the buffer is a whole number of them */
  Py_buffer view;
  int open;
} argument;

static int open_argument(argument *a) {
  if (PyObject_GetBuffer(a->object, &a->view, a->writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) return -1;
  a->open = 1;
  if (a->view.len % a->item != 0) {
    PyErr_Format(PyExc_ValueError, "%s: %zd bytes are not a whole number of %zd", a->name, a->view.len,
                 a->item);
    return -1;
  }
  return 0;
}

static int expect(const argument *a, Py_ssize_t items) {
  if (a->view.len == items * a->item) return 0;
  PyErr_Format(PyExc_ValueError, "%s holds %zd elements of %zd bytes, %zd are needed", a->name,
               a->view.len / a->item, a->item, items);
  return -1;
}

PyDoc_STRVAR(render_doc,
             "render(radiance, label, mask, projection, body, keys, dips, hands, lights, width, samples)\n\n"
             "Render the pixels where mask is set. All buffers are C-contiguous float32 unless stated.\n\n"
             "Args:\n"
             "    radiance: (H, W) linear light, written.\n"
             "    label: (H, W) uint8, written: key 0..87, 254 hand, 255 anything else.\n"
             "    mask: (H, W) uint8.\n"
             "    projection: (3, 4) millimetres to pixels.\n"
             "    body: one value per name in BODY_FIELDS.\n"
             "    keys: (88, 3) centre mm, albedo factor, level mm.\n"
             "    dips: (samples, 88) mm at each key's front.\n"
             "    hands: (samples, n, 8) capsules: both ends, radius, albedo; n <= 64.\n"
             "    lights: (m, 4) lean x, lean y, strength, penumbra; m <= 4.\n"
             "    samples: rays per pixel, 1..4; each sees its own row of dips and hands.\n");

static PyObject *render(PyObject *module, PyObject *args, PyObject *kwargs) {
  (void)module;
  static char *names[] = {"radiance", "label", "mask",   "projection", "body",    "keys",
                          "dips",     "hands", "lights", "width",      "samples", NULL};
  enum { RADIANCE, LABEL, MASK, PROJECTION, BODY, KEYS, DIPS, HANDS, LIGHTS, COUNT };
  argument a[COUNT] = {
      {.name = "radiance", .writable = 1, .item = sizeof(float)},
      {.name = "label", .writable = 1, .item = 1},
      {.name = "mask", .item = 1},
      {.name = "projection", .item = sizeof(float)},
      {.name = "body", .item = sizeof(ivt_body)},
      {.name = "keys", .item = sizeof(ivt_key)},
      {.name = "dips", .item = sizeof(float)},
      {.name = "hands", .item = sizeof(ivt_capsule)},
      {.name = "lights", .item = sizeof(ivt_light)},
  };
  int width = 0, samples = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOOOOii:render", names, &a[RADIANCE].object,
                                   &a[LABEL].object, &a[MASK].object, &a[PROJECTION].object, &a[BODY].object,
                                   &a[KEYS].object, &a[DIPS].object, &a[HANDS].object, &a[LIGHTS].object,
                                   &width, &samples))
    return NULL;
  int good = 1;
  for (int i = 0; i < COUNT && good; i++) good = open_argument(&a[i]) == 0;
  const Py_ssize_t pixels = good ? a[MASK].view.len : 0;
  const Py_ssize_t capsules = good && samples > 0 ? a[HANDS].view.len / a[HANDS].item / samples : 0;
  const Py_ssize_t lights = good ? a[LIGHTS].view.len / a[LIGHTS].item : 0;
  if (good && (width < 1 || pixels % width != 0 || samples < 1 || samples > IVT_MAX_SAMPLES ||
               capsules > IVT_MAX_CAPSULES || lights > IVT_MAX_LIGHTS)) {
    PyErr_SetString(PyExc_ValueError,
                    "render: width, samples (1..4), capsules (..64) or lights (..4) out of range");
    good = 0;
  }
  good = good && expect(&a[RADIANCE], pixels) == 0 && expect(&a[LABEL], pixels) == 0 &&
         expect(&a[PROJECTION], 12) == 0 && expect(&a[BODY], 1) == 0 && expect(&a[KEYS], IVT_KEYS) == 0 &&
         expect(&a[DIPS], samples * IVT_KEYS) == 0 && expect(&a[HANDS], samples * capsules) == 0;
  int failed = 0;
  if (good) {
    const ivt_picture picture = {
        .width = width,
        .height = (int)(pixels / width),
        .samples = samples,
        .lights = (int)lights,
        .capsules = (int)capsules,
        .projection = a[PROJECTION].view.buf,
        .body = a[BODY].view.buf,
        .keys = a[KEYS].view.buf,
        .dips = a[DIPS].view.buf,
        .hands = a[HANDS].view.buf,
        .light = a[LIGHTS].view.buf,
        .mask = a[MASK].view.buf,
        .radiance = a[RADIANCE].view.buf,
        .label = a[LABEL].view.buf,
    };
    Py_BEGIN_ALLOW_THREADS;
    failed = ivt_render(&picture) < 0;
    Py_END_ALLOW_THREADS;
  }
  for (int i = 0; i < COUNT; i++)
    if (a[i].open) PyBuffer_Release(&a[i].view);
  if (!good) return NULL;
  if (failed) return PyErr_NoMemory();
  Py_RETURN_NONE;
}

static int module_exec(PyObject *module) {
#define IVT_NAME(name) #name,
  static const char *const fields[] = {IVT_BODY_FIELDS(IVT_NAME)};
#undef IVT_NAME
  const Py_ssize_t count = sizeof fields / sizeof fields[0];
  PyObject *tuple = PyTuple_New(count);
  if (!tuple) return -1;
  for (Py_ssize_t i = 0; i < count; i++) {
    PyObject *name = PyUnicode_FromString(fields[i]);
    if (!name || PyTuple_SetItem(tuple, i, name) < 0) {
      Py_DECREF(tuple);
      return -1;
    }
  }
  const int result = PyModule_AddObjectRef(module, "BODY_FIELDS", tuple);
  Py_DECREF(tuple);
  return result;
}

static PyMethodDef methods[] = {
    {"render", (PyCFunction)(void (*)(void))render, METH_VARARGS | METH_KEYWORDS, render_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ivories_training._native",
    .m_doc = "Keyboard pictures for training, in C.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
