#include "hands.h"

#include <math.h>
#include <stdlib.h>

int ivt_bins_open(ivt_bins *bins, float x0, float y0, float x1, float y1, float cell) {
  bins->x0 = x0;
  bins->y0 = y0;
  bins->cell = cell;
  bins->columns = (int)((x1 - x0) / cell) + 1;
  bins->rows = (int)((y1 - y0) / cell) + 1;
  bins->bits = calloc((size_t)bins->columns * (size_t)bins->rows, sizeof *bins->bits);
  return bins->bits ? 0 : -1;
}

void ivt_bins_close(ivt_bins *bins) {
  free(bins->bits);
  bins->bits = NULL;
}

static int clamp_cell(float value, int count) {
  if (!(value > 0.0f)) return 0;
  return value < (float)(count - 1) ? (int)value : count - 1;
}

void ivt_bins_add(ivt_bins *bins, float x0, float y0, float x1, float y1, int capsule) {
  const float last_x = bins->x0 + bins->cell * (float)bins->columns;
  const float last_y = bins->y0 + bins->cell * (float)bins->rows;
  if (!(x1 >= bins->x0 && y1 >= bins->y0 && x0 <= last_x && y0 <= last_y)) return;
  const int i0 = clamp_cell((x0 - bins->x0) / bins->cell, bins->columns);
  const int i1 = clamp_cell((x1 - bins->x0) / bins->cell, bins->columns);
  const int j0 = clamp_cell((y0 - bins->y0) / bins->cell, bins->rows);
  const int j1 = clamp_cell((y1 - bins->y0) / bins->cell, bins->rows);
  for (int j = j0; j <= j1; j++)
    for (int i = i0; i <= i1; i++) bins->bits[j * bins->columns + i] |= UINT64_C(1) << capsule;
}

static float dot(const float a[3], const float b[3]) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

/* Cylinder first, then the cap on the side where the ray passes: quadratic equations of the swept sphere. */
float ivt_capsule_hit(const ivt_capsule *c, const float origin[3], const float direction[3]) {
  const float axis[3] = {c->bx - c->ax, c->by - c->ay, c->bz - c->az};
  const float from[3] = {origin[0] - c->ax, origin[1] - c->ay, origin[2] - c->az};
  const float baba = dot(axis, axis), bard = dot(axis, direction), baoa = dot(axis, from);
  const float rdoa = dot(direction, from), oaoa = dot(from, from), rr = c->radius * c->radius;
  const float qa = baba - bard * bard;
  const float qb = baba * rdoa - baoa * bard;
  const float qc = baba * oaoa - baoa * baoa - rr * baba;
  float along = baoa;
  if (qa > 1e-6f) {
    const float disc = qb * qb - qa * qc;
    if (disc < 0.0f) return -1.0f;
    const float t = (-qb - sqrtf(disc)) / qa;
    along = baoa + t * bard;
    if (along > 0.0f && along < baba) return t;
  }
  const float cap[3] = {along <= 0.0f ? from[0] : origin[0] - c->bx,
                        along <= 0.0f ? from[1] : origin[1] - c->by,
                        along <= 0.0f ? from[2] : origin[2] - c->bz};
  const float b = dot(direction, cap), disc = b * b - (dot(cap, cap) - rr);
  return disc > 0.0f ? -b - sqrtf(disc) : -1.0f;
}

static float clamp01(float value) { return value < 0.0f ? 0.0f : (value > 1.0f ? 1.0f : value); }

void ivt_capsule_nearest(const ivt_capsule *c, const float p[3], float nearest[3]) {
  const float axis[3] = {c->bx - c->ax, c->by - c->ay, c->bz - c->az};
  const float from[3] = {p[0] - c->ax, p[1] - c->ay, p[2] - c->az};
  const float s = clamp01(dot(from, axis) / (dot(axis, axis) + 1e-6f));
  nearest[0] = c->ax + s * axis[0];
  nearest[1] = c->ay + s * axis[1];
  nearest[2] = c->az + s * axis[2];
}

float ivt_capsule_light(const ivt_capsule *c, const float p[3], const float direction[3], float spread) {
  const float axis[3] = {c->bx - c->ax, c->by - c->ay, c->bz - c->az};
  const float from[3] = {p[0] - c->ax, p[1] - c->ay, p[2] - c->az};
  const float a = dot(axis, axis) + 1e-6f, b = dot(axis, direction), d = dot(axis, from),
              e = dot(direction, from);
  const float det = a - b * b;
  float s = det > 1e-6f ? clamp01((d - b * e) / det) : 0.0f; /* place on the axis nearest to the ray's line */
  float t = s * b - e;                                       /* and on the ray */
  if (t <= 0.0f) return 1.0f;
  const float gap[3] = {from[0] + t * direction[0] - s * axis[0], from[1] + t * direction[1] - s * axis[1],
                        from[2] + t * direction[2] - s * axis[2]};
  const float distance = sqrtf(dot(gap, gap)) - c->radius;
  return clamp01(0.5f + distance / (2.0f * spread * t + 0.5f));
}
