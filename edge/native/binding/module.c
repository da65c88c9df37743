/* ivories._native: the C path, bound through the stable ABI so that one wheel serves every Python from 3.11
 * on. Everything that includes Python.h lives in this folder. */
#include "types.h"

static int module_exec(PyObject *module) {
  if (ivories_add_audio_frontend(module) < 0) return -1;
  if (ivories_add_resample(module) < 0) return -1;
  return ivories_add_strip_frontend(module);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ivories._native",
    .m_doc = "Audio and video front ends in C.",
    .m_size = 0,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
