// CUDA C++ kernels on the CPU, for tests: one thread block at a time, its threads in turns.
//
// It shows what a kernel computes, with its barriers and its shared memory, and catches a barrier that is missing or not reached
// by all, a shuffle with threads that are elsewhere, and an index outside a shared or local array. It knows nothing of speed, of memory
// models or of real concurrency: what would be a race on a GPU shows as a result that depends on the order of warps and threads, which
// can be chosen.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>
#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __shared__ static __attribute__((section("cuda_shared")))
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __syncthreads() emu::block_barrier(__COUNTER__)  // a number of its own wherever it is written
#define __syncwarp(...) emu::warp_barrier(__COUNTER__)

struct dim3 { unsigned x = 1, y = 1, z = 1; };
static dim3 gridDim, blockDim, blockIdx, threadIdx;
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
using std::max; using std::min; using std::isnan; using std::isinf;
inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
inline void sincospi(float x, float* s, float* c) { *s = sinf(float(M_PI) * x); *c = cosf(float(M_PI) * x); }
inline void sincospi(double x, double* s, double* c) { *s = sin(M_PI * x); *c = cos(M_PI * x); }
template <class T> T __ldg(const T* p) { return *p; }
template <class T> T atomicAdd(T* p, T v) { T old = *p; *p = old + v; return old; }

extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __start_cuda_shared[], __stop_cuda_shared[];

namespace emu {
enum State { READY, BLOCK, WARP, DONE };
struct Thread { jmp_buf place; State state; int barrier; dim3 index; };
struct Stack { std::vector<char> memory; ucontext_t start; jmp_buf place; };
static std::vector<Thread> threads;
static std::vector<int> turn;                           // the order in which the threads go on ...
static int next, until;                                 // ... and those of it that begin now
static std::deque<Stack> stacks;
static std::vector<Stack*> resting;
static std::vector<uint64_t> published;                 // what each thread offers to the others of its warp
static std::vector<std::array<unsigned, 6>> factors;    // the same for a product of the tensor cores
static jmp_buf scheduler;
static int current;
static std::function<void()> body;
static const char* error = nullptr;

inline void wait_as(State state, int barrier) {         // leave this thread until the scheduler comes back to it
  threads[current].state = state; threads[current].barrier = barrier;
  if (!_setjmp(threads[current].place)) _longjmp(scheduler, 1);
}
inline void stop(const char* why) { error = why; wait_as(DONE, 0); }
inline void block_barrier(int which) { wait_as(BLOCK, which); }
inline void warp_barrier(int which) { wait_as(WARP, which); }
inline void fault(int) { stop("read or written far outside the arrays, or many bytes at a time from a place that is not as even"); }
inline void rest(Stack* self) {
  resting.push_back(self);
  if (!_setjmp(self->place)) _longjmp(scheduler, 1);
}
inline void serve() {                                   // a stack serves one thread after the other, until one has to wait on it
  for (Stack* self = &stacks.back();; rest(self))
    while (next < until) {
      current = turn[next++];
      threadIdx = threads[current].index;
      body();
      threads[current].state = DONE;
    }
}
inline void begin() {                                   // the next threads, on a stack of their own
  if (_setjmp(scheduler)) return;
  if (!resting.empty()) {
    Stack* stack = resting.back();
    resting.pop_back();
    _longjmp(stack->place, 1);
  }
  Stack& stack = (stacks.emplace_back(), stacks.back());
  stack.memory.resize(64 << 10);
  getcontext(&stack.start);
  stack.start.uc_stack.ss_sp = stack.memory.data(); stack.start.uc_stack.ss_size = stack.memory.size(); stack.start.uc_link = nullptr;
  makecontext(&stack.start, serve, 0);
  setcontext(&stack.start);
}
inline void resume(int i) {
  current = i; threadIdx = threads[i].index;
  if (!_setjmp(scheduler)) _longjmp(threads[i].place, 1);
}
inline bool release(int lo, int hi, State state) {      // open a barrier that all living threads have reached
  int barrier = -1; bool any = false;
  for (int i = lo; i < hi; i++) {
    if (threads[i].state == DONE) continue;
    if (threads[i].state != state) return false;
    if (barrier >= 0 && threads[i].barrier != barrier) 
      error = state == BLOCK ? "threads of one block wait at different __syncthreads()"
                             : "threads of one warp wait at different shuffles";
    barrier = threads[i].barrier; any = true;
  }
  for (int i = lo; i < hi; i++) if (threads[i].state == state) threads[i].state = READY;
  return any;
}
inline void mix(std::vector<int>& what, unsigned& order) {  // order: 0 forward, 1 backward, else shuffled by this seed
  if (order == 1) std::reverse(what.begin(), what.end());
  for (int i = static_cast<int>(what.size()) - 1; i > 0 && order > 1; i--) {
    order = order * 1664525u + 1013904223u | 2;
    std::swap(what[i], what[(order >> 8) % (i + 1)]);
  }
}
inline void arrange(int n, unsigned& order) {            // warp after warp
  std::vector<int> warps((n + 31) / 32);
  std::iota(warps.begin(), warps.end(), 0);
  mix(warps, order);
  turn.clear();
  for (int w : warps) {
    std::vector<int> own(std::min(32, n - 32 * w));
    std::iota(own.begin(), own.end(), 32 * w);
    mix(own, order);
    turn.insert(turn.end(), own.begin(), own.end());
  }
}
// Each warp goes on alone until all of it waits for the block: so what it does before another one, or after it, without a barrier of
// the block in between, comes in another order where the warps do.
inline void run_block(int n, unsigned order) {
  threads.resize(n); published.assign(n, 0); factors.assign(n, {});
  for (int i = 0; i < n; i++) {
    threads[i].state = READY;
    threads[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
  }
  arrange(n, order);
  for (bool begun = false;; begun = true) {
    for (int lo = 0, hi; lo < n; lo = hi) {
      int first = turn[lo] / 32 * 32, last = std::min(first + 32, n);
      hi = lo + last - first;
      if (!begun)
        for (next = lo, until = hi; next < hi;) { begin(); if (error) return; }
      do
        for (int k = lo; k < hi; k++) {
          if (threads[turn[k]].state == READY) resume(turn[k]);
          if (error) return;
        }
      while (release(first, last, WARP));
    }
    if (std::all_of(threads.begin(), threads.end(), [](const Thread& t) { return t.state == DONE; })) return;
    if (!release(0, n, BLOCK)) error = "deadlock: some threads never reach the barrier";
    if (error) return;
    if (order > 1) arrange(n, order);
  }
}
template <class T> T exchange(int which, T v, int lane) {  // every thread of a warp publishes v and reads that of another
  static_assert(sizeof(T) <= 8, "");
  size_t other = (current & ~31) + (lane & 31);
  memcpy(&published[current], &v, sizeof(T));
  warp_barrier(which);
  if (other >= threads.size() || threads[other].state == DONE) stop("a shuffle reads from a thread that is not there");
  T r; memcpy(&r, &published[other], sizeof(T));
  warp_barrier(which);
  return r;
}

const int PRODUCT = 1 << 30;                            // what its barriers are called
// Tensor cores: sum (16 x 8) += a (16 x k) b (k x 8), with N numbers in a register, in the layout of the PTX instruction; `number` says
// which number a register holds, or its half.
template <int N, class F> void multiply(float* sum, const unsigned* a, const unsigned* b, F number) {
  factors[current] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  warp_barrier(PRODUCT);
  auto at = [&](int lane, int which, int k) { return number(factors[(current & ~31) + lane][which], k % N); };
  for (int i = 0; i < 4; i++) {
    int row = current % 32 / 4 + i / 2 * 8, column = current % 4 * 2 + i % 2;
    for (int k = 0; k < 8 * N; k++) {
      int deep = k / N % 4, half = k / (4 * N);
      sum[i] += at(row % 8 * 4 + deep, row / 8 + 2 * half, k) * at(column * 4 + deep, 4 + half, k);
    }
  }
  warp_barrier(PRODUCT);
}
inline float of_bits(unsigned bits) { float x; memcpy(&x, &bits, 4); return x; }
inline unsigned bits_of(float x) { unsigned bits; memcpy(&bits, &x, 4); return bits; }

// The kinds of a kernel's arguments: a letter for the element, '=' for a number, '*' for an array, 'c' for a constant one, and the
// size in bytes. The letter of a structure, which is given by value, is 'V'.
template <class T> constexpr char element() {
  return std::is_class<T>::value ? 'V' : std::is_same<T, bool>::value ? '?' : std::is_same<T, float>::value ? 'f' : std::is_same<T, double>::value ? 'd'
       : (std::is_signed<T>::value ? "0bh0i000l" : "0BH0I000L")[std::min<size_t>(sizeof(T), 8)];
}
template <class T> constexpr char kind() {
  return !std::is_pointer<T>::value ? '=' : std::is_const<typename std::remove_pointer<T>::type>::value ? 'c' : '*';
}
template <class T> using Element = typename std::remove_cv<typename std::remove_pointer<T>::type>::type;
template <class... A> const char* signature(void (*)(A...)) {
  static std::string s;
  s.clear();
  (s.append({element<Element<A>>(), kind<A>()}).append(std::to_string(sizeof(Element<A>))), ...);
  return s.c_str();
}
template <class... A, size_t... I> void call(void (*k)(A...), void** args, std::index_sequence<I...>) { k(*static_cast<A*>(args[I])...); }
template <class... A> const char* launch(void (*k)(A...), const unsigned* dims, unsigned order, void** args) {
  gridDim = {dims[0], dims[1], dims[2]}; blockDim = {dims[3], dims[4], dims[5]};
  error = nullptr;
  struct sigaction before, now = {};
  now.sa_handler = fault; now.sa_flags = SA_NODEFER;
  sigaction(SIGSEGV, &now, &before);
  body = [=] { call(k, args, std::index_sequence_for<A...>{}); };
  size_t blocks = static_cast<size_t>(dims[0]) * dims[1] * dims[2];
  for (size_t i = 0; i < blocks && !error; i++) {
    size_t b = order & 1 ? blocks - 1 - i : i;           // odd orders run the grid backwards
    blockIdx = {unsigned(b % dims[0]), unsigned(b / dims[0] % dims[1]), unsigned(b / dims[0] / dims[1])};
    if (__start_cuda_shared) memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);  // NaN, not zeros
    run_block(dims[3] * dims[4] * dims[5], order);
  }
  sigaction(SIGSEGV, &before, nullptr);
  if (error) { stacks.clear(); resting.clear(); }
  return error;
}
}  // namespace emu

// All threads of a warp take part in a shuffle, whose place in the text they must share.
#define __shfl_sync(mask, value, lane) emu::exchange(__COUNTER__, value, lane)
#define __shfl_xor_sync(mask, value, other) emu::exchange(__COUNTER__, value, (emu::current & 31) ^ (other))
inline unsigned __float_as_uint(float x) { return emu::bits_of(x); }
// What tiles.cuh writes in PTX: numbers rounded for the tensor cores (to even halves in 16 bits), and their products.
inline unsigned one_bf16(float x) {
  unsigned bits = emu::bits_of(x);
  return isnan(x) ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
inline unsigned one_f16(float x) { _Float16 h = x; uint16_t bits; memcpy(&bits, &h, 2); return bits; }
inline unsigned two_bf16(float low, float high) { return one_bf16(low) | one_bf16(high) << 16; }
inline unsigned two_f16(float low, float high) { return one_f16(low) | one_f16(high) << 16; }
inline void mma_tf32(float* sum, const unsigned* a, const unsigned* b) {
  emu::multiply<1>(sum, a, b, [](unsigned bits, int) { return emu::of_bits(bits & ~0x1fffu); });
}
inline void mma_bf16(float* sum, const unsigned* a, const unsigned* b) {
  emu::multiply<2>(sum, a, b, [](unsigned bits, int half) { return emu::of_bits(bits >> 16 * half << 16); });
}
inline void mma_f16(float* sum, const unsigned* a, const unsigned* b) {
  emu::multiply<2>(sum, a, b, [](unsigned bits, int half) {
    uint16_t own = bits >> 16 * half; _Float16 h; memcpy(&h, &own, 2); return float(h);
  });
}
// What g++ calls for an index outside an array of known size (-fsanitize=bounds), in place of its library's function.
extern "C" __attribute__((used)) void __ubsan_handle_out_of_bounds_abort(void*, void*) {
  emu::stop("an index outside a shared or local array");
}
