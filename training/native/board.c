#include "board.h"

#include <math.h>

/* Black keys by position in the octave, counted from A as the keyboard does. */
static int is_black(int key) {
  const int pitch_class = (key + 9) % 12;
  return pitch_class == 1 || pitch_class == 3 || pitch_class == 6 || pitch_class == 8 || pitch_class == 10;
}

int ivt_column_count(const ivt_body *body) {
  return (int)((IVT_WHITES * body->white_width + 2.0f * IVT_MARGIN_MM) / IVT_COLUMN_MM) + 1;
}

static void paint(ivt_column *columns, int count, float left, float right, uint8_t key, int field) {
  int from = (int)ceilf((left + IVT_MARGIN_MM) / IVT_COLUMN_MM - 0.5f);
  int to = (int)ceilf((right + IVT_MARGIN_MM) / IVT_COLUMN_MM - 0.5f);
  if (from < 0) from = 0;
  if (to > count) to = count;
  for (int i = from; i < to; i++) {
    if (field == 0) columns[i].white = key;
    if (field == 1) columns[i].black = key;
    if (field == 2) columns[i].moat = 1;
    if (field == 3) columns[i].bevel = -1;
    if (field == 4) columns[i].bevel = 1;
  }
}

void ivt_build_columns(const ivt_body *body, const ivt_key *keys, ivt_column *columns) {
  const int count = ivt_column_count(body);
  for (int i = 0; i < count; i++) columns[i] = (ivt_column){IVT_NONE, IVT_NONE, 0, 0};
  for (int k = 0; k < IVT_KEYS; k++) {
    const float x = keys[k].centre;
    if (!is_black(k)) {
      const float half = 0.5f * (body->white_width - body->white_gap);
      paint(columns, count, x - half, x + half, (uint8_t)k, 0);
    } else {
      const float half = 0.5f * body->black_width;
      paint(columns, count, x - half - body->black_gap, x + half + body->black_gap, (uint8_t)k, 2);
      paint(columns, count, x - half, x + half, (uint8_t)k, 1);
      paint(columns, count, x - half, x - half + body->black_bevel, (uint8_t)k, 3);
      paint(columns, count, x + half - body->black_bevel, x + half, (uint8_t)k, 4);
    }
  }
}
