/* The inner loops of a spiking network's forward and backward pass, for float and double.

   This file includes itself once for each type; `real` is the type, `whole` an integer as wide as
   it, so that both fill a vector alike, and F(name) the suffix of the type. Arrays
   have the channel as the innermost axis (NHWC) and time as the outermost. Every loop over time
   runs over a block of neurons that stays in the first cache. A kernel returns 0, or 1 if memory
   ran out; what it writes is incomplete then. */

#ifndef real

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 2048
#define TILE 256
enum { ATAN, TRIANGLE, FAST_SIGMOID, RECTANGLE, STRAIGHT_THROUGH, GIVEN };

#define ABS(x) ((x) < 0 ? -(x) : (x))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
/* Set a flag that the threads of a kernel share. */
#define NOTE(condition, flag)                                                                      \
    do                                                                                             \
        if (condition) {                                                                           \
            _Pragma("omp atomic write") flag = 1;                                                  \
        }                                                                                          \
    while (0)

/* Of the windows that start at q·stride, those whose pixel at `offset` lies in [0, width): the
   first, and the one past the last. */
static inline int64_t first_inside(int64_t offset, int64_t stride)
{
    return offset < 0 ? (-offset + stride - 1) / stride : 0;
}

static inline int64_t past_inside(int64_t offset, int64_t stride, int64_t width, int64_t windows)
{
    return offset < width ? MIN((width - 1 - offset) / stride + 1, windows) : 0;
}

#define real float
#define whole int32_t
#define FMA __builtin_fmaf
#define F(name) name##_f32
#include "kernels.c"
#undef real
#undef whole
#undef FMA
#undef F

#define real double
#define whole int64_t
#define FMA __builtin_fma
#define F(name) name##_f64
#include "kernels.c"

#else

/* LIF neurons over all steps: the membrane v and the spikes s, each (steps, size).
   x advances by x_stride in each step: 0 for a constant current. `first` is β·v(0). */
int F(lif_forward)(const real *restrict x, int64_t x_stride, real *restrict v, real *restrict s,
                    int64_t steps, int64_t size, real beta, real threshold, real first,
                    real amplitude, int64_t to_zero, int64_t threads)
{
    int64_t blocks = (size + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t from = b * BLOCK, n = MIN(BLOCK, size - from);
        for (int64_t t = 0; t < steps; t++) {
            const real *restrict xt = x + t * x_stride + from;
            real *restrict vt = v + t * size + from;
            real *restrict st = s + t * size + from;
            const real *restrict before = vt - size;
            if (t == 0)
                for (int64_t i = 0; i < n; i++)
                    vt[i] = xt[i] + first;
            else if (to_zero)
                for (int64_t i = 0; i < n; i++)
                    vt[i] = before[i] > threshold ? xt[i] : FMA(beta, before[i], xt[i]);
            else
                for (int64_t i = 0; i < n; i++)
                    vt[i] = FMA(beta, before[i], xt[i]) - (before[i] > threshold ? threshold : 0);
            for (int64_t i = 0; i < n; i++)
                st[i] = vt[i] > threshold ? amplitude : 0;
        }
    }
    return 0;
}

/* Backward pass: gx from gs, both (steps, size). `given` is the surrogate's derivative if
   the kind is GIVEN. */
int F(lif_backward)(const real *restrict gs, const real *restrict v, const real *restrict given,
                     real *restrict gx, int64_t steps, int64_t size, real beta, real threshold,
                     real amplitude, int64_t to_zero, int64_t through_reset, int64_t kind,
                     real k, int64_t threads)
{
    int64_t blocks = (size + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t from = b * BLOCK, n = MIN(BLOCK, size - from);
        real later[BLOCK], slope[BLOCK];
        memset(later, 0, sizeof later);
        for (int64_t t = steps - 1; t >= 0; t--) {
            const real *restrict vt = v + t * size + from;
            const real *restrict g = gs + t * size + from;
            real *restrict out = gx + t * size + from;
            switch (kind) {
            case ATAN: {
                real scale = k * (real)1.5707963267948966;
                for (int64_t i = 0; i < n; i++) {
                    real z = (vt[i] - threshold) * scale;
                    slope[i] = k / 2 / (z * z + 1);
                }
                break;
            }
            case TRIANGLE:
                for (int64_t i = 0; i < n; i++) {
                    real z = vt[i] - threshold, up = k - ABS(z);
                    slope[i] = MAX(up, 0) / (k * k);
                }
                break;
            case FAST_SIGMOID:
                for (int64_t i = 0; i < n; i++) {
                    real z = vt[i] - threshold, d = ABS(z) * k + 1;
                    slope[i] = 1 / (d * d);
                }
                break;
            case RECTANGLE:
                for (int64_t i = 0; i < n; i++) {
                    real z = vt[i] - threshold;
                    slope[i] = ABS(z) < k / 2 ? 1 / k : 0;
                }
                break;
            case STRAIGHT_THROUGH:
                for (int64_t i = 0; i < n; i++)
                    slope[i] = k;
                break;
            default:
                memcpy(slope, given + t * size + from, n * sizeof(real));
            }
            for (int64_t i = 0; i < n; i++) {
                real spike = g[i] * amplitude;
                if (through_reset) /* v(t+1) also depends on s(t) */
                    spike -= (to_zero ? beta * vt[i] : threshold) * later[i];
                real kept = to_zero && vt[i] > threshold ? 0 : beta * later[i];
                out[i] = later[i] = spike * slope[i] + kept;
            }
        }
    }
    return 0;
}

/* The slopes of ASSG, (steps, n, size), from the membrane v of that shape. `statistics` has for
   each row, `stride` apart, the mean distance to the threshold and then its deviation, (steps,
   size) each; they are updated if `moving` is set. The constants are those of
   adaptive_surrogates.py. */
int F(assg)(const real *restrict v, real *restrict statistics, int64_t stride,
             real *restrict slopes, int64_t steps, int64_t n, int64_t size, real threshold,
             real amplitude, int64_t moving, int64_t threads)
{
    const real kept = (real)0.9, taken = 1 - kept, half_pi = (real)1.5707963267948966;
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t row = 0; row < n; row++)
        for (int64_t t = 0; t < steps; t++) {
            const real *restrict vt = v + (t * n + row) * size;
            real *restrict to = slopes + (t * n + row) * size;
            real *restrict mean = statistics + row * stride + t * size;
            real *restrict deviation = mean + steps * size;
            if (moving)
                for (int64_t i = 0; i < size; i++) {
                    real distance = ABS(vt[i] - threshold);
                    mean[i] = kept * mean[i] + taken * distance;
                    deviation[i] = kept * deviation[i] + taken * ABS(distance - mean[i]);
                }
            for (int64_t i = 0; i < size; i++) {
                real sharpness =
                    amplitude / (mean[i] + (real)1.5 * deviation[i] + (real)1e-4);
                real z = (vt[i] - threshold) * sharpness * half_pi;
                to[i] = sharpness / 2 / (z * z + 1);
            }
        }
    return 0;
}

/* Max pooling of `images` × height × width × channels; size × size windows, `stride`, `pad`.
   which: the position inside the window of the first maximum, as max_pool2d chooses it.
   With stride 1 the columns of a line that see the same offset are one long loop. */
int F(max_pool_forward)(const real *restrict x, real *restrict y, uint8_t *restrict which,
                         int64_t images, int64_t height, int64_t width, int64_t channels,
                         int64_t size, int64_t stride, int64_t pad, int64_t threads)
{
    int64_t rows = (height + 2 * pad - size) / stride + 1;
    int64_t columns = (width + 2 * pad - size) / stride + 1, line_size = columns * channels;
    int failed = 0; /* memory ran out */
#pragma omp parallel num_threads((int)threads)
    {
        whole *restrict arg = malloc(line_size * sizeof(whole));
        NOTE(!arg, failed);
#pragma omp for schedule(static)
        for (int64_t line = 0; line < images * rows; line++) {
            if (!arg)
                continue;
            int64_t image = line / rows, top = line % rows * stride - pad;
            real *restrict best = y + line * line_size;
            uint8_t *restrict to = which + line * line_size;
            for (int64_t k = 0; k < line_size; k++) {
                best[k] = -INFINITY;
                arg[k] = 0;
            }
            for (int64_t i = MAX(-top, 0); i < size && top + i < height; i++)
                for (int64_t j = 0; j < size; j++) {
                    whole here = (whole)(i * size + j);
                    const real *restrict in = x + (image * height + top + i) * width * channels;
                    int64_t from = first_inside(j - pad, stride);
                    int64_t past = past_inside(j - pad, stride, width, columns);
                    int64_t together = stride == 1 ? MAX(past - from, 0) : 1;
                    for (int64_t q = from; q < past; q += together) {
                        const real *restrict seen = in + (q * stride + j - pad) * channels;
                        real *restrict b = best + q * channels;
                        whole *restrict w = arg + q * channels;
                        for (int64_t k = 0; k < together * channels; k++) {
                            int more = (seen[k] > b[k]) | (seen[k] != seen[k]); /* NaN stays NaN */
                            b[k] = more ? seen[k] : b[k];
                            w[k] = more ? here : w[k];
                        }
                    }
                }
            for (int64_t k = 0; k < line_size; k++)
                to[k] = (uint8_t)arg[k];
        }
        free(arg);
    }
    return failed;
}

/* Backward pass, added to gx: each input sums over the windows that chose it. */
int F(max_pool_backward)(const real *restrict gy, const uint8_t *restrict which,
                          real *restrict gx, int64_t images, int64_t height, int64_t width,
                          int64_t channels, int64_t size, int64_t stride, int64_t pad,
                          int64_t threads)
{
    int64_t rows = (height + 2 * pad - size) / stride + 1;
    int64_t columns = (width + 2 * pad - size) / stride + 1, line_size = columns * channels;
    int failed = 0; /* memory ran out */
#pragma omp parallel num_threads((int)threads)
    {
        whole *restrict chosen = malloc(line_size * sizeof(whole));
        NOTE(!chosen, failed);
#pragma omp for schedule(static)
        for (int64_t line = 0; line < images * height; line++) {
            if (!chosen)
                continue;
            int64_t image = line / height, r = line % height;
            real *restrict out = gx + line * width * channels;
            for (int64_t i = 0; i < size; i++) {
                int64_t down = r + pad - i;
                if (down < 0 || down % stride || down / stride >= rows)
                    continue;
                const real *restrict g = gy + (image * rows + down / stride) * line_size;
                const uint8_t *restrict arg = which + (image * rows + down / stride) * line_size;
                for (int64_t k = 0; k < line_size; k++)
                    chosen[k] = arg[k];
                for (int64_t j = 0; j < size; j++) {
                    whole here = (whole)(i * size + j);
                    int64_t from = first_inside(j - pad, stride);
                    int64_t past = past_inside(j - pad, stride, width, columns);
                    int64_t together = stride == 1 ? MAX(past - from, 0) : 1;
                    for (int64_t q = from; q < past; q += together) {
                        real *restrict o = out + (q * stride + j - pad) * channels;
                        const real *restrict v = g + q * channels;
                        const whole *restrict w = chosen + q * channels;
                        for (int64_t k = 0; k < together * channels; k++)
                            o[k] += w[k] == here ? v[k] : 0;
                    }
                }
            }
        }
        free(chosen);
    }
    return failed;
}

/* The mask of a flexible layer: 0 for z ≤ −3, 1 for z ≥ 3, z/6 + ½ between. */
static inline real F(hard)(real z)
{
    return MIN(MAX(z / 6 + (real)0.5, 0), 1);
}

/* Fill `tile` (size) with copies of `row` (wide). */
static inline void F(repeat)(const real *restrict row, real *restrict tile, int64_t wide,
                             int64_t size)
{
    for (int64_t k = 0; k < size; k += wide)
        memcpy(tile + k, row, wide * sizeof(real));
}

/* Pooled pixels (pixels, narrow) with their channels repeated to (pixels, wide), into `widened`
   unless they are as wide already. */
static inline const real *F(widen)(const real *restrict pooled, real *restrict widened,
                                   int64_t pixels, int64_t wide, int64_t narrow)
{
    if (!widened)
        return pooled;
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t c = 0; c < wide; c += narrow)
            for (int64_t j = 0; j < MIN(narrow, wide - c); j++)
                widened[p * wide + c + j] = pooled[p * narrow + j];
    return widened;
}

/* Backward pass of widen: sums over the copies of each pooled channel. */
static inline void F(narrow)(const real *restrict widened, real *restrict pooled, int64_t pixels,
                             int64_t wide, int64_t narrow)
{
    memset(pooled, 0, pixels * narrow * sizeof(real));
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t c = 0; c < wide; c += narrow)
            for (int64_t j = 0; j < MIN(narrow, wide - c); j++)
                pooled[p * narrow + j] += widened[p * wide + c + j];
}

/* u = m·C + (1 − m)·P, m = hard(a·P + b + η(t)), η(t+1) = clip(η(t) + λ(mean|C| − mean|P|), ±limit).
   C, u: (steps, n, pixels, wide); P: (steps, n, pixels, narrow), channel c taking c mod narrow;
   η: (steps, n, wide), written here, its first step is `start` (wide).
   Where `constant` is set C and P have one step, seen in each. A tile has some pixels with all
   their channels, so that the loops are long where the channels are few. */
static int F(mix)(const real *restrict C, const real *restrict P, const real *restrict a,
                   const real *restrict b, const real *restrict start, real *restrict eta,
                   real *restrict u, int64_t steps, int64_t n, int64_t pixels, int64_t wide,
                   int64_t narrow, real rate, real limit, int64_t constant, int64_t last,
                   int64_t threads)
{
    int64_t some = MAX(TILE / wide, 1), size = some * wide;
    int failed = 0; /* memory ran out */
#pragma omp parallel num_threads((int)threads)
    {
        real *widened = wide == narrow ? NULL : malloc(pixels * wide * sizeof(real));
        int lacking = wide != narrow && !widened;
        NOTE(lacking, failed);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < n; image++) {
            if (lacking)
                continue;
            real gain[size], offset[size], drift[size];
            const real *restrict invariant = NULL;
            F(repeat)(a, gain, wide, size);
            for (int64_t t = 0; t < steps; t++) {
                int64_t in = constant ? image : t * n + image, out = t * n + image;
                real *restrict now = eta + out * wide;
                if (t == 0)
                    memcpy(now, start, wide * sizeof(real));
                if (t == 0 || !constant)
                    invariant = F(widen)(P + in * pixels * narrow, widened, pixels, wide, narrow);
                for (int64_t c = 0; c < wide; c++)
                    offset[c] = b[c] + now[c];
                for (int64_t k = wide; k < size; k += wide)
                    memcpy(offset + k, offset, wide * sizeof(real));
                memset(drift, 0, sizeof drift);
                for (int64_t p = 0; p < pixels; p += some) {
                    int64_t elements = MIN(some, pixels - p) * wide;
                    const real *restrict s = C + (in * pixels + p) * wide;
                    const real *restrict i = invariant + p * wide;
                    real *restrict mixed = u + (out * pixels + p) * wide;
                    for (int64_t k = 0; k < elements; k++) {
                        real m = F(hard)(gain[k] * i[k] + offset[k]);
                        mixed[k] = i[k] + m * (s[k] - i[k]);
                        drift[k] += ABS(s[k]) - ABS(i[k]);
                    }
                }
                if (t + 1 < steps || last)
                    for (int64_t c = 0; c < wide; c++) {
                        real sum = 0;
                        for (int64_t k = c; k < size; k += wide)
                            sum += drift[k];
                        real moved = now[c] + rate * (sum / pixels);
                        now[n * wide + c] = MIN(MAX(moved, -limit), limit);
                    }
            }
        }
        free(widened);
    }
    return failed;
}

int F(flex_forward)(const real *C, const real *P, const real *a, const real *b, const real *start,
                     real *eta, real *u, int64_t steps, int64_t n, int64_t pixels, int64_t wide,
                     int64_t narrow, real rate, real limit, int64_t constant, int64_t threads)
{
    return F(mix)(C, P, a, b, start, eta, u, steps, n, pixels, wide, narrow, rate, limit, constant, 0,
           threads);
}

/* The same in training; η has a step more, the adaptation after the last one. */
int F(flex_train_forward)(const real *C, const real *P, const real *a, const real *b,
                           const real *start, real *eta, real *u, int64_t steps, int64_t n,
                           int64_t pixels, int64_t wide, int64_t narrow, real rate, real limit,
                           int64_t constant, int64_t threads)
{
    return F(mix)(C, P, a, b, start, eta, u, steps, n, pixels, wide, narrow, rate, limit, constant, 1,
           threads);
}

/* Backward pass through the mask and the mix of `size` elements: adds the gradients at C (to_s), at
   P (to_i) and at η (later); `sum` is what flows back through the adaptation. Inside the parallel
   region the compiler does not vectorise these two loops, so they are not inlined. */
static __attribute__((noinline)) void
F(tile_back)(const real *restrict g, const real *restrict s, const real *restrict i,
             const real *restrict gain, const real *restrict offset, const real *restrict sum,
             real *restrict to_s, real *restrict to_i, real *restrict later, int64_t size)
{
    for (int64_t k = 0; k < size; k++) {
        real z = gain[k] * i[k] + offset[k], m = F(hard)(z);
        real drift = sum[k], slope = g[k] * (s[k] - i[k]) / 6, gz = ABS(z) < 3 ? slope : 0;
        real sign_s = s[k] > 0 ? drift : s[k] < 0 ? -drift : 0;
        real sign_i = i[k] > 0 ? drift : i[k] < 0 ? -drift : 0;
        to_s[k] += g[k] * m + sign_s;
        to_i[k] += g[k] * (1 - m) + gz * gain[k] - sign_i;
        later[k] += gz;
    }
}

/* Adds the gradients of the same elements at a and b. */
static __attribute__((noinline)) void
F(tile_sums)(const real *restrict g, const real *restrict s, const real *restrict i,
             const real *restrict gain, const real *restrict offset, real *restrict at_gain,
             real *restrict at_offset, int64_t size)
{
    for (int64_t k = 0; k < size; k++) {
        real z = gain[k] * i[k] + offset[k];
        real slope = g[k] * (s[k] - i[k]) / 6, gz = ABS(z) < 3 ? slope : 0;
        at_gain[k] += gz * i[k];
        at_offset[k] += gz;
    }
}

/* Backward pass: gC and gP from gu. With `constant` both have one step and are sums over time.
   ga, gb: (n, wide), the gradients at a and b of each image, or NULL. */
static int F(mix_back)(const real *restrict gu, const real *restrict C, const real *restrict P,
                      const real *restrict a, const real *restrict b, const real *restrict eta,
                      real *restrict gC, real *restrict gP, real *restrict ga,
                      real *restrict gb, int64_t steps, int64_t n,
                      int64_t pixels, int64_t wide, int64_t narrow, real rate, real limit,
                      int64_t through_eta, int64_t constant, int64_t threads)
{
    int64_t some = MAX(TILE / wide, 1), size = some * wide;
    int failed = 0; /* memory ran out */
#pragma omp parallel num_threads((int)threads)
    {
        real *widened = wide == narrow ? NULL : malloc(pixels * wide * sizeof(real));
        real *summed = wide == narrow ? NULL : malloc(pixels * wide * sizeof(real));
        int lacking = wide != narrow && (!widened || !summed);
        NOTE(lacking, failed);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < n; image++) {
            if (lacking)
                continue;
            real gain[size], offset[size], sum[size], later[size], at_gain[size], at_offset[size];
            const real *restrict invariant = NULL;
            F(repeat)(a, gain, wide, size);
            memset(at_gain, 0, sizeof at_gain);
            memset(at_offset, 0, sizeof at_offset);
            memset(later, 0, sizeof later); /* its first row is ∂/∂η(t+1) between two steps */
            for (int64_t t = steps - 1; t >= 0; t--) {
                int64_t in = constant ? image : t * n + image, out = t * n + image;
                const real *restrict now = eta + out * wide;
                real *restrict to_selective = gC + in * pixels * wide;
                real *restrict to_invariant = summed ? summed : gP + in * pixels * wide;
                if (t == steps - 1 || !constant) {
                    invariant = F(widen)(P + in * pixels * narrow, widened, pixels, wide, narrow);
                    memset(to_selective, 0, pixels * wide * sizeof(real));
                    memset(to_invariant, 0, pixels * wide * sizeof(real));
                }
                for (int64_t c = 0; c < wide; c++) {
                    /* the clip passes no gradient where η(t+1) is at the limit */
                    real next = t + 1 < steps ? now[n * wide + c] : 0;
                    later[c] = ABS(next) < limit ? later[c] : 0;
                    sum[c] = through_eta ? later[c] * rate / pixels : 0;
                    offset[c] = b[c] + now[c];
                }
                for (int64_t k = wide; k < size; k += wide) {
                    memcpy(offset + k, offset, wide * sizeof(real));
                    memcpy(sum + k, sum, wide * sizeof(real));
                }
                for (int64_t p = 0; p < pixels; p += some) {
                    int64_t elements = MIN(some, pixels - p) * wide;
                    const real *restrict s = C + (in * pixels + p) * wide;
                    const real *restrict i = invariant + p * wide;
                    const real *restrict g = gu + (out * pixels + p) * wide;
                    real *restrict to_s = to_selective + p * wide;
                    real *restrict to_i = to_invariant + p * wide;
                    F(tile_back)(g, s, i, gain, offset, sum, to_s, to_i, later, elements);
                    if (ga)
                        F(tile_sums)(g, s, i, gain, offset, at_gain, at_offset, elements);
                }
                if (summed && (t == 0 || !constant))
                    F(narrow)(summed, gP + in * pixels * narrow, pixels, wide, narrow);
                for (int64_t c = 0; c < wide; c++)
                    for (int64_t k = c + wide; k < size; k += wide) {
                        later[c] += later[k];
                        later[k] = 0;
                    }
            }
            for (int64_t c = 0; ga && c < wide; c++) {
                ga[image * wide + c] = gb[image * wide + c] = 0;
                for (int64_t k = c; k < size; k += wide) {
                    ga[image * wide + c] += at_gain[k];
                    gb[image * wide + c] += at_offset[k];
                }
            }
        }
        free(widened), free(summed);
    }
    return failed;
}

int F(flex_backward)(const real *gu, const real *C, const real *P, const real *a, const real *b,
                      const real *eta, real *gC, real *gP, int64_t steps, int64_t n,
                      int64_t pixels, int64_t wide, int64_t narrow, real rate, real limit,
                      int64_t through_eta, int64_t constant, int64_t threads)
{
    return F(mix_back)(gu, C, P, a, b, eta, gC, gP, NULL, NULL, steps, n, pixels, wide, narrow, rate,
                limit, through_eta, constant, threads);
}

/* The same in training. */
int F(flex_train_backward)(const real *gu, const real *C, const real *P, const real *a,
                            const real *b, const real *eta, real *gC, real *gP, real *ga,
                            real *gb, int64_t steps, int64_t n, int64_t pixels, int64_t wide,
                            int64_t narrow, real rate, real limit, int64_t through_eta,
                            int64_t constant, int64_t threads)
{
    return F(mix_back)(gu, C, P, a, b, eta, gC, gP, ga, gb, steps, n, pixels, wide, narrow, rate, limit,
                through_eta, constant, threads);
}

/* 3×3 convolution, padding 1, of sparse images: it goes from one non-zero input to the next.

   x: (images, height, width, in), y: (images, height, width, out). weight: (3, 3, in, padded) with
   `padded` the next multiple of a vector above `out`; bias: (padded). The non-zero inputs of a line
   are listed by column · in + channel, so those of three neighbouring columns follow each other and
   each gives its row of weights by a constant shift. */

typedef real F(vector) __attribute__((vector_size(32), aligned(sizeof(real)), may_alias));
enum { F(LANES) = 32 / sizeof(real) };

static inline __attribute__((always_inline)) void
F(gather)(const int32_t *restrict code, const real *restrict value, int64_t from, int64_t to,
          const real *restrict rows, int64_t padded, F(vector) *restrict sum, int vectors)
{
    F(vector) even[vectors], odd[vectors];
    for (int v = 0; v < vectors; v++) {
        even[v] = sum[v];
        odd[v] = (F(vector)){0};
    }
    int64_t e = from;
    for (; e + 1 < to; e += 2) {
        const F(vector) *one = (const F(vector) *)(rows + code[e] * padded);
        const F(vector) *two = (const F(vector) *)(rows + code[e + 1] * padded);
        for (int v = 0; v < vectors; v++) {
            even[v] += value[e] * one[v];
            odd[v] += value[e + 1] * two[v];
        }
    }
    if (e < to) {
        const F(vector) *one = (const F(vector) *)(rows + code[e] * padded);
        for (int v = 0; v < vectors; v++)
            even[v] += value[e] * one[v];
    }
    for (int v = 0; v < vectors; v++)
        sum[v] = even[v] + odd[v];
}

static inline __attribute__((always_inline)) void
F(line)(const int32_t *restrict code, const real *restrict value, const int64_t *restrict start,
        int64_t row, int64_t height, int64_t width, int64_t in, int64_t out, int64_t padded,
        const real *restrict weight, const real *restrict bias, real *restrict y, int64_t count,
        int vectors)
{
    for (int64_t q = 0; q < width; q++) {
        F(vector) sum[vectors];
        memcpy(sum, bias, sizeof sum);
        int64_t left = MAX(q - 1, 0), right = MIN(q + 2, width);
        for (int64_t i = MAX(0, 1 - row); i < 3 && row + i - 1 < height; i++) {
            const int64_t *at = start + (row + i - 1) * (width + 1);
            const real *rows = weight + (i * 3 - q + 1) * in * padded;
            F(gather)(code, value, at[left], at[right], rows, padded, sum, vectors);
        }
        memcpy(y + q * out, sum, count * sizeof(real));
    }
}

int F(sparse_conv)(const real *restrict x, const real *restrict weight, const real *restrict bias,
                    real *restrict y, int64_t images, int64_t height, int64_t width, int64_t in,
                    int64_t out, int64_t padded, int64_t threads)
{
    enum { WIDEST = 8 };
    int failed = 0; /* memory ran out */
#pragma omp parallel num_threads((int)threads)
    {
        int32_t *code = malloc(height * width * in * sizeof(int32_t));
        real *value = malloc(height * width * in * sizeof(real));
        int64_t *start = malloc(height * (width + 1) * sizeof(int64_t));
        int lacking = !code || !value || !start;
        NOTE(lacking, failed);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < images; image++) {
            if (lacking)
                continue;
            int64_t events = 0;
            for (int64_t row = 0; row < height; row++)
                for (int64_t q = 0; q <= width; q++) {
                    start[row * (width + 1) + q] = events;
                    if (q == width)
                        break;
                    const real *restrict seen = x + ((image * height + row) * width + q) * in;
                    for (int64_t c = 0; c < in; c++) { /* written always, kept where non-zero */
                        code[events] = (int32_t)(q * in + c);
                        value[events] = seen[c];
                        events += seen[c] != 0;
                    }
                }
            for (int64_t first = 0; first < padded; first += WIDEST * F(LANES)) {
                int64_t vectors = MIN((padded - first) / F(LANES), WIDEST);
                int64_t count = MIN(out - first, vectors * F(LANES));
                for (int64_t row = 0; row < height; row++) {
                    real *to = y + (image * height + row) * width * out + first;
                    const real *w = weight + first, *b = bias + first;
#define LINE(n)                                                                                    \
    case n:                                                                                        \
        F(line)(code, value, start, row, height, width, in, out, padded, w, b, to, count, n);            \
        break
                    switch (vectors) {
                        LINE(1);
                        LINE(2);
                        LINE(3);
                        LINE(4);
                        LINE(5);
                        LINE(6);
                        LINE(7);
                        LINE(8);
                    }
#undef LINE
                }
            }
        }
        free(code), free(value), free(start);
    }
    return failed;
}

#endif
