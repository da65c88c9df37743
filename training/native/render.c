#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "light.h"

enum { TILE = 8 };

/* Radiance along one ray; `bits`: capsules that may stand in its way. */
static float trace(const ivt_scene *s, const float eye[3], const float ray[3], uint64_t bits, int *label) {
  const ivt_body *body = s->picture->body;
  float near = 1e30f;
  const ivt_capsule *hand = NULL;
  for (; bits; bits &= bits - 1) {
    const ivt_capsule *c = &s->hands[ivt_lowest_bit(bits)];
    const float t = ivt_capsule_hit(c, eye, ray);
    if (t > 0.0f && t < near) {
      near = t;
      hand = c;
    }
  }
  const float floor_z = hand ? eye[2] + near * ray[2] : -1e30f;
  if (ray[2] > -0.02f) {
    *label = IVT_OTHER;
    return body->floor_albedo * body->ambient;
  }
  const float slope_x = ray[0] / ray[2], slope_y = ray[1] / ray[2];
  const float slope = fabsf(slope_x) + fabsf(slope_y);
  float p[3];
  int side_x = 0, side_y = 0, hit = 0;
  float z = s->top;
  const float board_top = body->fallboard_height;
  if (board_top > z) { /* the fallboard rises above everything else: meet its top or its face first */
    const float y_top = eye[1] + (board_top - eye[2]) * slope_y;
    const float x_top = eye[0] + (board_top - eye[2]) * slope_x;
    const float y_low = eye[1] + (z - eye[2]) * slope_y;
    const float ends = IVT_WHITES * body->white_width + 1.0f, edge = -body->felt_depth;
    if (y_top < edge && y_top > body->body_back && x_top > -1.0f && x_top < ends) {
      z = board_top - 0.01f;
      hit = 1;
    } else if (y_top >= edge && y_low < edge) {
      const float face = eye[2] + (edge - 0.01f - eye[1]) / slope_y;
      const float x_face = eye[0] + (face - eye[2]) * slope_x;
      if (x_face > -1.0f && x_face < ends) {
        z = face;
        hit = 1;
        side_y = 1;
      }
    }
  }
  if (!hit && eye[1] + (z - eye[2]) * slope_y > body->black_length &&
      eye[1] + (s->front_top - eye[2]) * slope_y > body->black_length)
    z = s->front_top;
  float before = 1e30f;
  while (!hit && z > floor_z) {
    const float x = eye[0] + (z - eye[2]) * slope_x, y = eye[1] + (z - eye[2]) * slope_y;
    const float h = ivt_height(&s->board, x, y, NULL), clear = z - h;
    if (clear <= 0.0f) {
      hit = 1;
      if (h - before > 1.0f && clear < -0.25f) { /* went into a wall: which side of the cell? */
        const float back = IVT_LATERAL_MM / (slope + 0.05f) * 1.5f;
        const float y0 = y + back * slope_y;
        if (ivt_height(&s->board, x, y0, NULL) < z)
          side_y = slope_y > 0.0f ? 1 : -1;
        else
          side_x = slope_x > 0.0f ? 1 : -1;
      }
      break;
    }
    before = h;
    const float fine = IVT_LATERAL_MM / (slope + 0.01f);
    float step = 0.6f * clear > fine ? 0.6f * clear : fine;
    if (step > clear) step = clear;
    /* A gap is narrow and deep: a step as long as it is deep would end inside the key behind it. */
    const float most = z > s->white_top ? fminf(3.0f * fine, z - s->white_top) : fine;
    z -= fminf(step, most) + 1e-3f;
  }
  if (hand && !hit) {
    for (int i = 0; i < 3; i++) p[i] = eye[i] + near * ray[i];
    float n[3];
    ivt_capsule_nearest(hand, p, n);
    for (int i = 0; i < 3; i++) {
      n[i] = (p[i] - n[i]) / hand->radius;
      p[i] += 0.3f * n[i];
    }
    *label = IVT_HAND;
    return ivt_shade(s, p, n, ray, hand->albedo, 0.0f, 0.55f + 0.45f * n[2]);
  }
  p[0] = eye[0] + (z - eye[2]) * slope_x;
  p[1] = eye[1] + (z - eye[2]) * slope_y;
  p[2] = z;
  return ivt_shade_board(s, p, ray, side_x, side_y, label);
}

/* Inverse of the left 3x3 part of the projection, and the camera's place. */
static void invert(const float *projection, float inverse[9], float eye[3]) {
  double m[9], c[9];
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) m[i * 3 + j] = projection[i * 4 + j];
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) {
      const int a = (j + 1) % 3, b = (j + 2) % 3, d = (i + 1) % 3, e = (i + 2) % 3;
      c[i * 3 + j] = m[a * 3 + d] * m[b * 3 + e] - m[a * 3 + e] * m[b * 3 + d];
    }
  const double det = m[0] * c[0] + m[1] * c[3] + m[2] * c[6];
  for (int i = 0; i < 9; i++) inverse[i] = (float)(c[i] / det);
  for (int i = 0; i < 3; i++)
    eye[i] =
        (float)(-(c[i * 3] * projection[3] + c[i * 3 + 1] * projection[7] + c[i * 3 + 2] * projection[11]) /
                det);
}

static void enclose(const float *p, const float at[3], float radius, float box[4]) {
  const float w = p[8] * at[0] + p[9] * at[1] + p[10] * at[2] + p[11];
  if (w < 1.0f) { /* at or behind the camera: may be anywhere */
    box[0] = box[1] = -1e9f;
    box[2] = box[3] = 1e9f;
    return;
  }
  const float u = (p[0] * at[0] + p[1] * at[1] + p[2] * at[2] + p[3]) / w;
  const float v = (p[4] * at[0] + p[5] * at[1] + p[6] * at[2] + p[7]) / w;
  const float focal =
      sqrtf(p[0] * p[0] + p[1] * p[1] + p[2] * p[2]) / sqrtf(p[8] * p[8] + p[9] * p[9] + p[10] * p[10]);
  const float reach = 1.15f * radius * focal / (w > 1.5f * radius ? w - radius : 0.5f * radius) + 1.5f;
  if (u - reach < box[0]) box[0] = u - reach;
  if (v - reach < box[1]) box[1] = v - reach;
  if (u + reach > box[2]) box[2] = u + reach;
  if (v + reach > box[3]) box[3] = v + reach;
}

static void cast(ivt_bins *bins, const ivt_capsule *c, float lean_x, float lean_y, float spread, int index) {
  const float size = sqrtf(1.0f + lean_x * lean_x + lean_y * lean_y);
  const float high = (c->az > c->bz ? c->az : c->bz) + c->radius + 15.0f;
  const float grow = size * (c->radius + spread * high * size) + 4.0f;
  const float xa = c->ax - lean_x * c->az, xb = c->bx - lean_x * c->bz;
  const float ya = c->ay - lean_y * c->az, yb = c->by - lean_y * c->bz;
  ivt_bins_add(bins, fminf(xa, xb) - grow, fminf(ya, yb) - grow, fmaxf(xa, xb) + grow, fmaxf(ya, yb) + grow,
               index);
}

static void trace_all(const ivt_picture *picture, ivt_scene *scenes, const ivt_bins *tiles) {
  static const float kPlaces[4][4][2] = {{{0.5f, 0.5f}},
                                         {{0.25f, 0.3f}, {0.75f, 0.7f}},
                                         {{0.2f, 0.2f}, {0.8f, 0.45f}, {0.4f, 0.8f}},
                                         {{0.38f, 0.12f}, {0.88f, 0.38f}, {0.12f, 0.62f}, {0.62f, 0.88f}}};
  float inverse[9], eye[3];
  invert(picture->projection, inverse, eye);
  const int samples = picture->samples;
  for (int v = 0; v < picture->height; v++)
    for (int u = 0; u < picture->width; u++) {
      const size_t at = (size_t)v * (size_t)picture->width + (size_t)u;
      if (!picture->mask[at]) continue;
      const uint64_t bits = ivt_bins_at(tiles, (float)u, (float)v);
      float sum = 0.0f;
      int label = IVT_OTHER;
      for (int i = 0; i < samples; i++) {
        const float x = (float)u + kPlaces[samples - 1][i][0] - 0.5f,
                    y = (float)v + kPlaces[samples - 1][i][1] - 0.5f;
        float ray[3];
        for (int j = 0; j < 3; j++) ray[j] = inverse[j * 3] * x + inverse[j * 3 + 1] * y + inverse[j * 3 + 2];
        const float size = sqrtf(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2]);
        for (int j = 0; j < 3; j++) ray[j] /= size;
        sum += trace(&scenes[i], eye, ray, bits, &label);
      }
      picture->radiance[at] = sum / (float)samples;
      picture->label[at] = (uint8_t)label;
    }
}

int ivt_render(const ivt_picture *picture) {
  const ivt_body *body = picture->body;
  const float right = IVT_WHITES * body->white_width;
  ivt_lamp lamps[IVT_MAX_LIGHTS];
  memset(lamps, 0, sizeof lamps);
  ivt_bins tiles = {0}, above = {0};
  const int count = ivt_column_count(body);
  ivt_column *columns = malloc((size_t)count * sizeof *columns);
  int failed = !columns ||
               ivt_bins_open(&tiles, 0, 0, (float)picture->width, (float)picture->height, TILE) < 0 ||
               ivt_bins_open(&above, -100.0f, -100.0f, right + 100.0f, 300.0f, 8.0f) < 0;
  for (int l = 0; l < picture->lights && !failed; l++) {
    const ivt_light *light = &picture->light[l];
    const float size = sqrtf(1.0f + light->lean_x * light->lean_x + light->lean_y * light->lean_y);
    lamps[l].light = light;
    lamps[l].direction[0] = light->lean_x / size;
    lamps[l].direction[1] = light->lean_y / size;
    lamps[l].direction[2] = 1.0f / size;
    failed = ivt_bins_open(&lamps[l].shadows, -300.0f, -300.0f, right + 300.0f, 500.0f, 8.0f) < 0;
  }
  if (!failed) {
    ivt_build_columns(body, picture->keys, columns);
    for (int c = 0; c < picture->capsules; c++) {
      float box[4] = {1e9f, 1e9f, -1e9f, -1e9f};
      for (int i = 0; i < picture->samples; i++) {
        const ivt_capsule *capsule = &picture->hands[i * picture->capsules + c];
        const float a[3] = {capsule->ax, capsule->ay, capsule->az},
                    b[3] = {capsule->bx, capsule->by, capsule->bz};
        enclose(picture->projection, a, capsule->radius, box);
        enclose(picture->projection, b, capsule->radius, box);
        cast(&above, capsule, 0.0f, 0.0f, 0.2f, c);
        for (int l = 0; l < picture->lights; l++) {
          const ivt_light *light = lamps[l].light;
          cast(&lamps[l].shadows, capsule, light->lean_x, light->lean_y, light->spread, c);
        }
      }
      ivt_bins_add(&tiles, box[0], box[1], box[2], box[3], c);
    }
    ivt_scene scenes[IVT_MAX_SAMPLES];
    for (int i = 0; i < picture->samples; i++) {
      const ivt_board board = {body,
                               picture->keys,
                               picture->dips + i * IVT_KEYS,
                               columns,
                               count,
                               1.0f / (body->white_length - body->white_pivot),
                               1.0f / (body->black_length - body->black_pivot)};
      const float top = fmaxf(body->black_height, fmaxf(body->cheek_height, body->slip_height)) + 1.0f;
      float front_top = fmaxf(body->cheek_height, body->slip_height), low = 0.0f, white_top = 0.0f;
      for (int k = 0; k < IVT_KEYS; k++) {
        front_top = fmaxf(front_top, picture->keys[k].level);
        white_top = fmaxf(white_top, picture->keys[k].level);
        low = fminf(low, picture->keys[k].level);
      }
      scenes[i] = (ivt_scene){.picture = picture,
                              .board = board,
                              .hands = picture->hands + i * picture->capsules,
                              .lamps = lamps,
                              .above = &above,
                              .top = top,
                              .front_top = front_top + 0.2f,
                              .white_top = white_top,
                              .low = low - 0.3f};
    }
    trace_all(picture, scenes, &tiles);
  }
  for (int l = 0; l < picture->lights; l++) ivt_bins_close(&lamps[l].shadows);
  ivt_bins_close(&tiles);
  ivt_bins_close(&above);
  free(columns);
  return failed ? -1 : 0;
}
