// The CPU's attention as one native operation: RoPE and K/V writing, and paged attention over what was written.
//
// fp32 only. Head sizes are multiples of 16, at most 256. The pool of a layer is [2][kv_heads][pages][page_size][D]; the
// words are those of `interface.py`. Compiled on first use by `build.py`; nothing here allocates in a layer.
//
// A *column* is one query in one head: the query heads of a key head times the queries of a row are columns that read
// the same keys. Rows that begin with the same pages form a tree of *segments*, and a segment's entries are read once
// for the columns of all of its rows (a cascade: level by level, then each row's own entries). What has been seen so far
// of a column is its state: the largest score, the sum of weights, and the weighted sum of values.
//
// Two ways through a tile of entries. Wide: columns lie in the lanes of vectors, so that nothing is ever summed across
// lanes, and products run at the speed of a matrix multiplication. Thin, for few columns: head elements lie in the lanes.

#include <map>
#include <new>
#include <vector>

#include "vectors.h"

namespace {

constexpr int COLUMNS = 4 * W;  // of a unit of work
constexpr int THIN = W / 2;     // at most so many columns go the thin way
constexpr int TILE = 64;        // entries at a time
constexpr int MAX_DIM = 256;
constexpr int64_t SHARED = 64;  // fewest entries that are worth a segment
constexpr float NONE = -1e30f;  // the largest score before anything was seen

struct Shape {
  int64_t pages, page_size, heads, kv_heads, dim, threads;
  const float* rope;  // [positions][dim / 2][2]
  float scale;
};

struct Step {
  int64_t rows, tokens, width, words;
  const int64_t *query_lens, *seq_lens, *table, *positions, *slots, *firsts, *mask_of;
  const uint32_t* masks;
};

// Rows whose columns read entries [begin, end) together.
struct Segment {
  std::vector<int32_t> rows;
  int64_t begin, end;
};

struct Unit {
  int32_t segment, head, column, columns;
};

struct Plan {
  Shape shape;
  Step step;
  std::vector<int64_t> starts;     // first query of each row
  std::vector<int64_t> own;        // where each row's last segment begins
  std::vector<Segment> segments;
  std::vector<std::vector<Unit>> levels;
  std::vector<int64_t> state_of;   // per query: its place among the states, or -1
  std::vector<float> states;       // [place][heads][dim + 2]: weighted sum, largest score, sum of weights
};

struct Column {
  int64_t query, own, first;  // index among the T; its own entry; the first one in windows
  int head;
  const uint32_t* mask;
};

// ---- planning ------------------------------------------------------------------------------------------------------

struct Planner {
  Plan& plan;
  const Step& step;
  int64_t size;

  const int64_t* table(int32_t row) const { return step.table + row * step.width; }

  void add(size_t level, Segment segment) {
    const Shape& s = plan.shape;
    if (plan.levels.size() <= level) plan.levels.resize(level + 1);
    int64_t columns = 0;
    for (int32_t row : segment.rows) columns += step.query_lens[row];
    columns *= s.heads / s.kv_heads;
    for (int32_t h = 0; h < s.kv_heads; h++)
      for (int64_t c = 0; c < columns; c += COLUMNS)
        plan.levels[level].push_back({int32_t(plan.segments.size()), h, int32_t(c),
                                      int32_t(std::min<int64_t>(COLUMNS, columns - c))});
    plan.segments.push_back(std::move(segment));
  }

  // Segments of rows that have the same pages before page `from`.
  void share(std::vector<int32_t> rows, int64_t from, size_t level) {
    std::map<int64_t, std::vector<int32_t>> by_page;
    for (int32_t row : rows)
      if ((from + 1) * size <= step.seq_lens[row] - step.query_lens[row]) by_page[table(row)[from]].push_back(row);
    for (auto& [page, group] : by_page) {
      if (group.size() < 2) continue;
      int64_t to = INT64_MAX;
      for (int32_t row : group) to = std::min(to, (step.seq_lens[row] - step.query_lens[row]) / size);
      for (int32_t row : group) {
        int64_t same = from;
        while (same < to && table(row)[same] == table(group[0])[same]) same++;
        to = same;
      }
      // what this many rows share is read by them one level down, unless it is not worth it
      if ((to - from) * size >= SHARED) {
        for (int32_t row : group) plan.own[row] = to * size;
        add(level, {group, from * size, to * size});
        share(group, to, level + 1);
      } else {
        split(group, from, to, level);
      }
    }
  }

  // Rows that share too little: those that go on alike among them may still share enough.
  void split(const std::vector<int32_t>& group, int64_t from, int64_t to, size_t level) {
    std::map<int64_t, std::vector<int32_t>> next;
    for (int32_t row : group)
      if ((to + 1) * size <= step.seq_lens[row] - step.query_lens[row]) next[table(row)[to]].push_back(row);
    for (auto& [page, rows] : next)
      if (rows.size() > 1 && rows.size() < group.size()) share(rows, from, level);
  }
};

void make(Plan& plan) {
  const Shape& shape = plan.shape;
  const Step& step = plan.step;
  std::vector<int32_t> rows;
  int64_t at = 0;
  for (int64_t i = 0; i < step.rows; i++) {
    plan.starts.push_back(at);
    at += step.query_lens[i];
    rows.push_back(int32_t(i));
  }
  plan.own.assign(step.rows, 0);
  Planner planner{plan, step, shape.page_size};
  planner.share(rows, 0, 0);
  plan.state_of.assign(step.tokens, -1);
  int64_t places = 0;
  for (int64_t i = 0; i < step.rows; i++)
    if (plan.own[i])
      for (int64_t q = 0; q < step.query_lens[i]; q++) plan.state_of[plan.starts[i] + q] = places++;
  plan.states.resize(places * shape.heads * (shape.dim + 2));
  size_t last = plan.levels.size();
  for (int32_t row : rows) planner.add(last, {{row}, plan.own[row], step.seq_lens[row]});
  // long work first, so that threads end together
  for (auto& level : plan.levels)
    if (shape.threads > 1)
      std::stable_sort(level.begin(), level.end(), [&](const Unit& a, const Unit& b) {
        const Segment &x = plan.segments[a.segment], &y = plan.segments[b.segment];
        return (x.end - x.begin) * a.columns > (y.end - y.begin) * b.columns;
      });
}

// ---- a tile --------------------------------------------------------------------------------------------------------

// A unit's columns, and the memory that it works in.
struct Work {
  Column columns[COLUMNS];
  int count, vectors;
  int64_t low, high;          // entries that any column sees: [low, high)
  int64_t sure_low, sure_high;  // entries that all of them see, masks apart
  bool masked;
  alignas(64) float q[COLUMNS * MAX_DIM];    // wide: [vector pair][dim][2 W]; thin: [column][dim]
  alignas(64) float out[COLUMNS * MAX_DIM];  // the same
  alignas(64) float scores[TILE * COLUMNS];  // wide: [vector pair][entry][2 W]; thin: [column][TILE]
  alignas(64) float most[COLUMNS], total[COLUMNS];
  const float *keys[TILE], *values[TILE];
};

inline bool visible(const Column& c, int64_t entry, int64_t words) {
  if (entry > c.own || entry < c.first) return false;
  if (!c.mask || entry == c.own) return true;
  return entry / 32 < words && (c.mask[entry / 32] >> (entry % 32) & 1);
}

inline void hide(const Column* columns, int count, int64_t entry, int64_t words, float* scores, int stride) {
  for (int c = 0; c < count; c++)
    if (!visible(columns[c], entry, words)) scores[c * stride] = -INFINITY;
}

// scores[j][0..V) = q . keys[j], for N entries and V vectors of columns
template <int V, int N>
inline void score(const float* q, const float* const* keys, float* scores, int dim) {
  Vec acc[N][V] = {};
  for (int d = 0; d < dim; d++) {
    Vec x[V];
    for (int v = 0; v < V; v++) x[v] = load(q + d * V * W + v * W);
#pragma GCC unroll 8
    for (int n = 0; n < N; n++)
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) acc[n][v] += x[v] * keys[n][d];
  }
  for (int n = 0; n < N; n++)
    for (int v = 0; v < V; v++) store(scores + (n * V + v) * W, acc[n][v]);
}

// out[d][0..V) += sum over the entries of weight * values[j][d], for N elements d
template <int V, int N>
inline void mix(float* out, const float* const* values, const float* weights, int entries, int d) {
  Vec acc[N][V];
  for (int n = 0; n < N; n++)
    for (int v = 0; v < V; v++) acc[n][v] = load(out + ((d + n) * V + v) * W);
  for (int j = 0; j < entries; j++) {
    Vec p[V];
    for (int v = 0; v < V; v++) p[v] = load(weights + (j * V + v) * W);
    const float* value = values[j] + d;
#pragma GCC unroll 8
    for (int n = 0; n < N; n++)
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) acc[n][v] += p[v] * value[n];
  }
  for (int n = 0; n < N; n++)
    for (int v = 0; v < V; v++) store(out + ((d + n) * V + v) * W, acc[n][v]);
}

// V vectors of columns, from column `first` of the unit on, against a tile of entries from `begin` on.
template <int V>
void wide(Work& w, int first, int64_t begin, int entries, int dim, int64_t words) {
  constexpr int N = 8 / V;
  float *q = w.q + first * dim, *out = w.out + first * dim, *scores = w.scores + first * TILE;
  const int padded = (entries + N - 1) / N * N;
  for (int j = 0; j < padded; j += N) score<V, N>(q, w.keys + j, scores + j * V * W, dim);
  const bool edge = w.masked || begin < w.sure_low || begin + entries > w.sure_high;
  if (edge) {
    const int count = std::min(V * W, w.count - first);
    for (int j = 0; j < entries; j++) hide(w.columns + first, count, begin + j, words, scores + j * V * W, 1);
  }
  for (int v = 0; v < V; v++) {
    float* s = scores + v * W;
    Vec before = load(w.most + first + v * W), most = before;
    for (int j = 0; j < entries; j++) most = larger(load(s + j * V * W), most);
    Vec total = {};
    for (int j = 0; j < entries; j++) {
      Vec p = exponential(load(s + j * V * W) - most);
      total += p;
      store(s + j * V * W, p);
    }
    Int moved = most != before;
    bool any = false;
    for (int i = 0; i < W; i++) any |= moved[i] != 0;
    if (any) {
      Vec factor = exponential(before - most);
      total += load(w.total + first + v * W) * factor;
      for (int d = 0; d < dim; d++) store(out + (d * V + v) * W, load(out + (d * V + v) * W) * factor);
      store(w.most + first + v * W, most);
    } else {
      total += load(w.total + first + v * W);
    }
    store(w.total + first + v * W, total);
  }
  for (int d = 0; d < dim; d += N) mix<V, N>(out, w.values, scores, entries, d);
}

// out[0..N vectors) += sum of weight * value, of one column
template <int N>
inline void thin_mix(float* out, const float* const* values, const float* weights, int entries, int d) {
  Vec acc[N];
  for (int n = 0; n < N; n++) acc[n] = load(out + d + n * W);
  for (int j = 0; j < entries; j++) {
    const float* value = values[j] + d;
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) acc[n] += load(value + n * W) * weights[j];
  }
  for (int n = 0; n < N; n++) store(out + d + n * W, acc[n]);
}

void thin(Work& w, int64_t begin, int entries, int dim, int64_t words) {
  for (int c = 0; c < w.count; c++) {
    float *q = w.q + c * dim, *scores = w.scores + c * TILE;
    for (int j = 0; j < entries; j += 4) {
      Vec a = {}, b = {}, x = {}, y = {};
      for (int d = 0; d < dim; d += W) {
        Vec each = load(q + d);
        a += each * load(w.keys[j] + d);
        b += each * load(w.keys[j + 1] + d);
        x += each * load(w.keys[j + 2] + d);
        y += each * load(w.keys[j + 3] + d);
      }
      scores[j] = sum(a), scores[j + 1] = sum(b), scores[j + 2] = sum(x), scores[j + 3] = sum(y);
    }
    const int padded = (entries + W - 1) / W * W;
    for (int j = entries; j < padded; j++) scores[j] = -INFINITY;
  }
  if (w.masked || begin < w.sure_low || begin + entries > w.sure_high)
    for (int j = 0; j < entries; j++) hide(w.columns, w.count, begin + j, words, w.scores + j, TILE);
  for (int c = 0; c < w.count; c++) {
    float *scores = w.scores + c * TILE, *out = w.out + c * dim;
    Vec best = all(w.most[c]);
    for (int j = 0; j < entries; j += W) best = larger(load(scores + j), best);
    float most = w.most[c];
    for (int i = 0; i < W; i++) most = best[i] > most ? best[i] : most;
    Vec total = {};
    for (int j = 0; j < entries; j += W) {
      Vec p = exponential(load(scores + j) - most);
      total += p;
      store(scores + j, p);
    }
    if (most != w.most[c]) {
      float factor = exponential(all(w.most[c] - most))[0];
      w.total[c] *= factor;
      for (int d = 0; d < dim; d += W) store(out + d, load(out + d) * factor);
      w.most[c] = most;
    }
    w.total[c] += sum(total);
    int d = 0;
    for (; d + 8 * W <= dim; d += 8 * W) thin_mix<8>(out, w.values, scores, entries, d);
    for (; d + 4 * W <= dim; d += 4 * W) thin_mix<4>(out, w.values, scores, entries, d);
    for (; d < dim; d += W) thin_mix<1>(out, w.values, scores, entries, d);
  }
}

// ---- a unit --------------------------------------------------------------------------------------------------------

void find_columns(const Plan& plan, const Unit& unit, bool windowed, Work& w) {
  const Step& step = plan.step;
  const Segment& segment = plan.segments[unit.segment];
  const int group = int(plan.shape.heads / plan.shape.kv_heads);
  int64_t skip = unit.column;
  w.count = 0;
  w.masked = false;
  w.low = INT64_MAX, w.high = 0, w.sure_low = 0, w.sure_high = INT64_MAX;
  for (size_t r = 0; r < segment.rows.size() && w.count < unit.columns; r++) {
    const int32_t row = segment.rows[r];
    const int64_t columns = step.query_lens[row] * group;
    for (; skip < columns && w.count < unit.columns; skip++) {
      Column& c = w.columns[w.count++];
      const int64_t q = skip / group;
      c.query = plan.starts[row] + q;
      c.own = step.seq_lens[row] - step.query_lens[row] + q;
      c.first = windowed && step.firsts ? step.firsts[c.query] : 0;
      c.head = int(unit.head * group + skip % group);
      c.mask = step.mask_of && step.mask_of[c.query] >= 0 ? step.masks + step.mask_of[c.query] * step.words : nullptr;
      w.masked |= c.mask != nullptr;
      w.low = std::min(w.low, c.first), w.high = std::max(w.high, c.own + 1);
      w.sure_low = std::max(w.sure_low, c.first), w.sure_high = std::min(w.sure_high, c.own + 1);
    }
    skip -= columns;
  }
}

// Where element d of column c is: [place + d * stride]
inline void place(const Work& w, bool is_thin, int dim, int c, int* at, int* stride) {
  if (is_thin) {
    *at = c * dim, *stride = 1;
  } else {
    const int pair = c / (2 * W) * 2 * W, width = std::min(w.vectors * W - pair, 2 * W);
    *at = pair * dim + c - pair, *stride = width;
  }
}

void run(Plan& plan, const Unit& unit, const float* qkv, const float* pool, float* out, bool windowed, Work& w) {
  const Shape& s = plan.shape;
  const Step& step = plan.step;
  const Segment& segment = plan.segments[unit.segment];
  const int dim = int(s.dim);
  const int64_t head_stride = s.pages * s.page_size * dim, heads = s.heads + 2 * s.kv_heads;
  find_columns(plan, unit, windowed, w);
  const bool is_thin = w.count <= THIN;
  w.vectors = (w.count + W - 1) / W;
  if (!is_thin) std::memset(w.q, 0, sizeof(float) * w.vectors * W * dim);
  std::memset(w.out, 0, sizeof(float) * (is_thin ? w.count : w.vectors * W) * dim);
  for (int c = 0; c < w.vectors * W; c++) w.most[c] = NONE, w.total[c] = 0;
  for (int c = 0; c < w.count; c++) {
    int at, stride;
    place(w, is_thin, dim, c, &at, &stride);
    const Column& column = w.columns[c];
    const float* q = qkv + (column.query * heads + column.head) * dim;
    for (int d = 0; d < dim; d++) w.q[at + d * stride] = q[d] * s.scale;
    const int64_t state = plan.state_of[column.query];
    if (state >= 0 && segment.begin > 0) {
      const float* known = plan.states.data() + (state * s.heads + column.head) * (dim + 2);
      for (int d = 0; d < dim; d++) w.out[at + d * stride] = known[d];
      w.most[c] = known[dim], w.total[c] = known[dim + 1];
    }
  }
  const float *keys = pool + unit.head * head_stride, *values = keys + s.kv_heads * head_stride;
  const int64_t* table = step.table + segment.rows[0] * step.width;
  const int64_t end = std::min(segment.end, w.high);
  for (int64_t begin = std::max(segment.begin, w.low); begin < end; begin += TILE) {
    const int entries = int(std::min<int64_t>(TILE, end - begin));
    int64_t page = begin / s.page_size, offset = begin % s.page_size;
    for (int j = 0; j < entries; j++) {
      const int64_t at = (table[page] * s.page_size + offset) * dim;
      w.keys[j] = keys + at, w.values[j] = values + at;
      if (++offset == s.page_size) offset = 0, page++;
    }
    for (int j = entries; j < TILE && j < entries + 8; j++) w.keys[j] = w.keys[entries - 1];
    if (is_thin) {
      thin(w, begin, entries, dim, step.words);
      continue;
    }
    int v = 0;
    for (; v + 2 <= w.vectors; v += 2) wide<2>(w, v * W, begin, entries, dim, step.words);
    if (v < w.vectors) wide<1>(w, v * W, begin, entries, dim, step.words);
  }
  for (int c = 0; c < w.count; c++) {
    int at, stride;
    place(w, is_thin, dim, c, &at, &stride);
    const Column& column = w.columns[c];
    if (segment.rows.size() == 1) {
      float* o = out + (column.query * s.heads + column.head) * dim;
      const float factor = 1 / w.total[c];
      for (int d = 0; d < dim; d++) o[d] = w.out[at + d * stride] * factor;
    } else {
      float* known = plan.states.data() + (plan.state_of[column.query] * s.heads + column.head) * (dim + 2);
      for (int d = 0; d < dim; d++) known[d] = w.out[at + d * stride];
      known[dim] = w.most[c], known[dim + 1] = w.total[c];
    }
  }
}

}  // namespace

extern "C" {

// Null if there is no memory for it.
void* symphony_plan(const Shape* shape, const Step* step) {
  Plan* plan = nullptr;
  try {
    plan = new Plan{*shape, *step, {}, {}, {}, {}, {}, {}};
    make(*plan);
    return plan;
  } catch (const std::bad_alloc&) {
    delete plan;
    return nullptr;
  }
}

void symphony_free(void* plan) { delete static_cast<Plan*>(plan); }

// qkv: [tokens][heads + 2 kv_heads][dim]; its q and k parts are turned in place.
void symphony_write(void* opaque, float* qkv, float* pool) {
  const Plan& plan = *static_cast<Plan*>(opaque);
  const Shape& s = plan.shape;
  const int64_t dim = s.dim, heads = s.heads + 2 * s.kv_heads, head_stride = s.pages * s.page_size * dim;
  const int64_t block = 16, blocks = (plan.step.tokens + block - 1) / block;
  spread(blocks, s.threads, [&](int64_t b) {
    for (int64_t t = b * block; t < std::min(plan.step.tokens, (b + 1) * block); t++) {
      const float* turn = s.rope + plan.step.positions[t] * dim;
      float* row = qkv + t * heads * dim;
      for (int64_t h = 0; h < s.heads + s.kv_heads; h++) {
        float* x = row + h * dim;
        for (int64_t d = 0; d < dim; d += 2) {
          const float even = x[d], odd = x[d + 1];
          x[d] = even * turn[d] - odd * turn[d + 1];
          x[d + 1] = odd * turn[d] + even * turn[d + 1];
        }
      }
      for (int64_t h = 0; h < 2 * s.kv_heads; h++)
        std::memcpy(pool + h * head_stride + plan.step.slots[t] * dim, row + (s.heads + h) * dim, dim * sizeof(float));
    }
  });
}

// out: [tokens][heads][dim]; zero where there is no row.
void symphony_attend(void* opaque, const float* qkv, const float* pool, float* out, int windowed) {
  Plan& plan = *static_cast<Plan*>(opaque);
  const Shape& s = plan.shape;
  const int64_t last = plan.step.rows - 1, real = plan.starts[last] + plan.step.query_lens[last];
  std::memset(out + real * s.heads * s.dim, 0, (plan.step.tokens - real) * s.heads * s.dim * sizeof(float));
  for (const auto& level : plan.levels) {
    // neighbouring units of short work are taken together
    const int64_t block = std::max<int64_t>(1, int64_t(level.size()) / (s.threads * 8));
    const int64_t blocks = (int64_t(level.size()) + block - 1) / block;
    spread(blocks, s.threads, [&](int64_t b) {
      Work w;
      const int64_t end = std::min<int64_t>(int64_t(level.size()), (b + 1) * block);
      for (int64_t i = b * block; i < end; i++) run(plan, level[i], qkv, pool, out, windowed != 0, w);
    });
  }
}

}  // extern "C"
