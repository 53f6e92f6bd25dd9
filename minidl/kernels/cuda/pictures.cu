// A batch of pictures out of a data set that lies here as bytes, (N, C, H, W): each moved by up to `padding` pixels, mirrored or not,
// and normalised. In one pass: each thread reads the C bytes of a pixel and writes C numbers.
typedef Told<real, 8> Scales;  // the mean of up to four channels, and their standard deviations

extern "C" __global__ void augmented(
    const unsigned char* data, const long long* index, const real* chances, real* out, int n, int N, int C, int H, int W, int padding,
    real flip, const __grid_constant__ Scales scales) {
  int t = THREAD;
  if (t >= n * H * W) return;
  int j = t % W, i = t / W % H, picture = t / (H * W), places = 2 * padding + 1;
  const real* chance = chances + 3 * picture;  // in [0, 1): how far down, how far to the right, and whether it is mirrored
  int row = i + min(int(chance[0] * places), places - 1) - padding;
  int column = (chance[2] < flip ? W - 1 - j : j) + min(int(chance[1] * places), places - 1) - padding;
  bool inside = row >= 0 && row < H && column >= 0 && column < W;
  int which = int(index[picture] % N);
  if (which < 0) which += N;
  for (int c = 0; c < C; c++) {
    real pixel = inside ? data[((which * C + c) * H + row) * W + column] : 0;
    out[((picture * C + c) * H + i) * W + j] = (pixel / 255 - scales[c]) / scales[4 + c];
  }
}
