/* The Python types of ivories._native; each adds itself to the module and returns 0, or -1 with an error set.
 */
#ifndef IVORIES_BINDING_TYPES_H
#define IVORIES_BINDING_TYPES_H

#include <Python.h>

int ivories_add_audio_frontend(PyObject *module);
int ivories_add_resample(PyObject *module);
int ivories_add_strip_frontend(PyObject *module);

#endif
