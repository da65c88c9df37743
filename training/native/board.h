/* The height field of the keyboard, inlined into the two loops that march through it. */
#ifndef IVORIES_TRAINING_BOARD_H
#define IVORIES_TRAINING_BOARD_H

#include "scene.h"

enum { IVT_NONE = 255 };

typedef enum {
  IVT_WHITE,
  IVT_BLACK,
  IVT_GAP,
  IVT_FALLBOARD,
  IVT_FELT,
  IVT_SLIP,
  IVT_CHEEK,
  IVT_FLOOR
} ivt_material;

typedef struct {
  ivt_material material;
  int key; /* IVT_NONE where no key */
  int bevel;
} ivt_surface;

/* Height at (x, y), and what is there where `surface` is given. */
static inline float ivt_height(const ivt_board *board, float x, float y, ivt_surface *surface) {
  const ivt_body *body = board->body;
  const float below = -body->gap_depth;
  ivt_surface s = {IVT_FLOOR, IVT_NONE, 0};
  float h = -30.0f;
  const float slip = body->white_length + body->slip_gap;
  const float right = IVT_WHITES * body->white_width;
  if (x < -1.0f || x > right + 1.0f) {
    if (x > -1.0f - body->cheek_width && x < right + 1.0f + body->cheek_width && y > body->body_back &&
        y < slip + body->slip_width) {
      s.material = IVT_CHEEK;
      h = body->cheek_height;
    }
  } else if (y < 0.0f) {
    if (y > -body->felt_depth) {
      s.material = IVT_FELT;
      h = -1.5f;
    } else if (y > body->body_back) {
      s.material = IVT_FALLBOARD;
      h = body->fallboard_height;
    }
  } else if (y >= body->white_length) {
    if (y < slip) {
      s.material = IVT_GAP;
      h = below;
    } else if (y < slip + body->slip_width) {
      s.material = IVT_SLIP;
      h = body->slip_height;
    }
  } else {
    int i = (int)((x + IVT_MARGIN_MM) * (1.0f / IVT_COLUMN_MM));
    if (i < 0) i = 0;
    if (i >= board->column_count) i = board->column_count - 1;
    const ivt_column c = board->columns[i];
    s.material = IVT_GAP;
    h = below;
    if (c.black != IVT_NONE && y < body->black_length) {
      const float slope = y - (body->black_length - body->black_slope);
      s.material = IVT_BLACK;
      s.key = c.black;
      s.bevel = c.bevel;
      h = body->black_height + board->keys[c.black].level - (c.bevel ? 0.5f * body->black_bevel : 0.0f) -
          (slope > 0.0f ? slope * 0.55f * body->black_height / body->black_slope : 0.0f) -
          board->dip[c.black] * (y - body->black_pivot) * board->black_lever;
    } else if (c.white != IVT_NONE && !(c.moat && y < body->black_length + body->black_gap)) {
      s.material = IVT_WHITE;
      s.key = c.white;
      h = board->keys[c.white].level - board->dip[c.white] * (y - body->white_pivot) * board->white_lever;
    }
  }
  if (surface) *surface = s;
  return h;
}

#endif
