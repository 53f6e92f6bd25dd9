// Sums at places that may repeat, the same every time.
//
// Atomic additions would be in whatever order the threads come in, and rounding depends on the order. So the places are sorted
// first (`order` says where each came from, and equal ones stay in their order), and each place is one thread's own: the one that
// finds itself at the first of a run of equal places adds up the run. A place may be that of a whole row of `width` numbers, such
// as a row of an embedding; then there is a thread for each number of the row.
extern "C" __global__ void add_sorted(
    real* out, const long long* places, const long long* order, const real* values, int n, int width, int rows) {
  int t = THREAD;
  if (t >= n * width) return;
  int i = t / width, column = t % width;
  long long place = places[i];
  if ((i > 0 && places[i - 1] == place) || place < 0 || place >= rows) return;
  real sum = out[int(place) * width + column];
  for (; i < n && places[i] == place; i++) sum += values[int(order[i]) * width + column];
  out[int(place) * width + column] = sum;
}

// The same, addition by addition, without sorting, which a captured step cannot do: every place looks through the whole list for
// itself. For a small table that is quick as well.
extern "C" __global__ void add_searched(real* out, const long long* places, const real* values, int n, int width, int rows) {
  int t = THREAD;
  if (t >= rows * width) return;
  int row = t / width, column = t % width;
  real sum = out[t];
  for (int i = 0; i < n; i++)
    if (places[i] == row) sum += values[i * width + column];
  out[t] = sum;
}
