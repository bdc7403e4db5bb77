/* The inner loops of a spiking network's forward and backward pass, for float and double.

   This file includes itself once for each type; `real` is the type and F(name) its suffix. Arrays
   have the channel as the innermost axis (NHWC) and time as the outermost. Every loop over time
   runs over a block of neurons that stays in the first cache. */

#ifndef real

#include <stdint.h>
#include <string.h>

#define BLOCK 2048
enum { ATAN, TRIANGLE, FAST_SIGMOID, RECTANGLE, STRAIGHT_THROUGH, GIVEN };

#define ABS(x) ((x) < 0 ? -(x) : (x))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define real float
#define FMA __builtin_fmaf
#define F(name) name##_f32
#include "kernels.c"
#undef real
#undef FMA
#undef F

#define real double
#define FMA __builtin_fma
#define F(name) name##_f64
#include "kernels.c"

#else

/* LIF neurons over all steps: the membrane v and the spikes s, each (steps, size).
   x advances by x_stride in each step: 0 for a constant current. */
void F(lif_forward)(const real *restrict x, int64_t x_stride, real *restrict v, real *restrict s,
                    int64_t steps, int64_t size, real beta, real threshold, real initial,
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
                    vt[i] = xt[i] + beta * initial;
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
}

/* The way back: gx from gs, both (steps, size). `given` holds the surrogate's derivative where
   its kind is GIVEN. */
void F(lif_backward)(const real *restrict gs, const real *restrict v, const real *restrict given,
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
}

/* Max pooling of `images` × height × width × channels; size × size windows, `stride`, `pad`.
   which: the position inside the window of the first maximum, as max_pool2d chooses it. */
void F(max_pool_forward)(const real *restrict x, real *restrict y, uint8_t *restrict which,
                         int64_t images, int64_t height, int64_t width, int64_t channels,
                         int64_t size, int64_t stride, int64_t pad, int64_t threads)
{
    int64_t rows = (height + 2 * pad - size) / stride + 1;
    int64_t columns = (width + 2 * pad - size) / stride + 1;
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t line = 0; line < images * rows; line++) {
        int64_t image = line / rows, top = line % rows * stride - pad;
        for (int64_t column = 0; column < columns; column++) {
            int64_t left = column * stride - pad;
            real *restrict best = y + (line * columns + column) * channels;
            uint8_t *restrict arg = which + (line * columns + column) * channels;
            int first = 1;
            for (int64_t i = 0; i < size; i++)
                for (int64_t j = 0; j < size; j++) {
                    int64_t r = top + i, q = left + j;
                    if (r < 0 || r >= height || q < 0 || q >= width)
                        continue;
                    const real *restrict in = x + ((image * height + r) * width + q) * channels;
                    uint8_t here = (uint8_t)(i * size + j);
                    if (first)
                        for (int64_t c = 0; c < channels; c++) {
                            best[c] = in[c];
                            arg[c] = here;
                        }
                    else
                        for (int64_t c = 0; c < channels; c++) {
                            int more = in[c] > best[c];
                            best[c] = more ? in[c] : best[c];
                            arg[c] = more ? here : arg[c];
                        }
                    first = 0;
                }
        }
    }
}

/* The way back, added to gx: each input gathers from the windows that chose it. */
void F(max_pool_backward)(const real *restrict gy, const uint8_t *restrict which,
                          real *restrict gx, int64_t images, int64_t height, int64_t width,
                          int64_t channels, int64_t size, int64_t stride, int64_t pad, int64_t threads)
{
    int64_t rows = (height + 2 * pad - size) / stride + 1;
    int64_t columns = (width + 2 * pad - size) / stride + 1;
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t line = 0; line < images * height; line++) {
        int64_t image = line / height, r = line % height;
        for (int64_t q = 0; q < width; q++) {
            real *restrict out = gx + (line * width + q) * channels;
            for (int64_t i = 0; i < size; i++)
                for (int64_t j = 0; j < size; j++) {
                    int64_t down = r + pad - i, right = q + pad - j;
                    if (down < 0 || right < 0 || down % stride || right % stride)
                        continue;
                    down /= stride, right /= stride;
                    if (down >= rows || right >= columns)
                        continue;
                    int64_t at = ((image * rows + down) * columns + right) * channels;
                    const real *restrict g = gy + at;
                    const uint8_t *restrict arg = which + at;
                    uint8_t here = (uint8_t)(i * size + j);
                    for (int64_t c = 0; c < channels; c++)
                        out[c] += arg[c] == here ? g[c] : 0;
                }
        }
    }
}

/* The mask of a flexible layer: 0 for z ≤ −3, 1 for z ≥ 3, z/6 + ½ between. */
static inline real F(hard)(real z)
{
    return MIN(MAX(z / 6 + (real)0.5, 0), 1);
}

/* u = m·C + (1 − m)·P, m = hard(a·P + b + η(t)), η(t+1) = clip(η(t) + λ(mean|C| − mean|P|), ±limit).
   C, u: (steps, n, pixels, wide); P: (steps, n, pixels, narrow), channel c taking c mod narrow;
   η: (steps, n, wide), written here, its first step is `start` (wide).
   Where `constant` is set C and P have one step, seen in each. */
void F(flex_forward)(const real *restrict C, const real *restrict P, const real *restrict a,
                     const real *restrict b, const real *restrict start, real *restrict eta,
                     real *restrict u, int64_t steps, int64_t n, int64_t pixels, int64_t wide,
                     int64_t narrow, real rate, real limit, int64_t constant, int64_t threads)
{
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t image = 0; image < n; image++)
        for (int64_t t = 0; t < steps; t++) {
            int64_t in = constant ? image : t * n + image, out = t * n + image;
            real *restrict now = eta + out * wide;
            if (t == 0)
                memcpy(now, start, wide * sizeof(real));
            real drift[wide];
            memset(drift, 0, sizeof drift);
            for (int64_t p = 0; p < pixels; p++) {
                const real *restrict selective = C + (in * pixels + p) * wide;
                const real *restrict pooled = P + (in * pixels + p) * narrow;
                real *restrict mixed = u + (out * pixels + p) * wide;
                for (int64_t first = 0; first < wide; first += narrow) {
                    int64_t last = MIN(narrow, wide - first);
                    for (int64_t j = 0; j < last; j++) {
                        int64_t c = first + j;
                        real s = selective[c], i = pooled[j];
                        real m = F(hard)(a[c] * i + b[c] + now[c]);
                        mixed[c] = i + m * (s - i);
                        drift[c] += ABS(s) - ABS(i);
                    }
                }
            }
            if (t + 1 < steps)
                for (int64_t c = 0; c < wide; c++) {
                    real moved = now[c] + rate * (drift[c] / pixels);
                    now[n * wide + c] = MIN(MAX(moved, -limit), limit);
                }
        }
}

/* The way back: gC and gP from gu. With `constant` both have one step and receive the sums. */
void F(flex_backward)(const real *restrict gu, const real *restrict C, const real *restrict P,
                      const real *restrict a, const real *restrict b, const real *restrict eta,
                      real *restrict gC, real *restrict gP, int64_t steps, int64_t n,
                      int64_t pixels, int64_t wide, int64_t narrow, real rate, real limit,
                      int64_t through_eta, int64_t constant, int64_t threads)
{
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t image = 0; image < n; image++) {
        real later[wide], sum[wide]; /* ∂/∂η(t+1), and λ/pixels of what passes its clip */
        memset(later, 0, sizeof later);
        for (int64_t t = steps - 1; t >= 0; t--) {
            int64_t in = constant ? image : t * n + image, out = t * n + image;
            const real *restrict now = eta + out * wide;
            real *restrict g_s = gC + in * pixels * wide, *restrict g_i = gP + in * pixels * narrow;
            if (!constant || t == steps - 1) {
                memset(g_s, 0, pixels * wide * sizeof(real));
                memset(g_i, 0, pixels * narrow * sizeof(real));
            }
            for (int64_t c = 0; c < wide; c++) {
                /* at the limit the clip passes no gradient: η(t+1) stands on it */
                real next = t + 1 < steps ? now[n * wide + c] : 0;
                real passed = ABS(next) < limit ? later[c] : 0;
                sum[c] = through_eta ? passed * rate / pixels : 0;
                later[c] = passed;
            }
            for (int64_t p = 0; p < pixels; p++) {
                const real *restrict selective = C + (in * pixels + p) * wide;
                const real *restrict pooled = P + (in * pixels + p) * narrow;
                const real *restrict g = gu + (out * pixels + p) * wide;
                real *restrict to_s = g_s + p * wide, *restrict to_i = g_i + p * narrow;
                for (int64_t first = 0; first < wide; first += narrow) {
                    int64_t last = MIN(narrow, wide - first);
                    for (int64_t j = 0; j < last; j++) {
                        int64_t c = first + j;
                        real s = selective[c], i = pooled[j];
                        real z = a[c] * i + b[c] + now[c], m = F(hard)(z);
                        real gz = z > -3 && z < 3 ? g[c] * (s - i) / 6 : 0;
                        real sign_s = (s > 0) - (s < 0), sign_i = (i > 0) - (i < 0);
                        to_s[c] += g[c] * m + sum[c] * sign_s;
                        to_i[j] += g[c] * (1 - m) + gz * a[c] - sum[c] * sign_i;
                        later[c] += gz;
                    }
                }
            }
        }
    }
}

#endif
