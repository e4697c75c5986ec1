"""The definition of the convolution and of all that follows from it, in Python numbers, loops and lists.

It imports nothing, so it can be checked against the mathematics by eye, and it is exact: for integers of any
size, and for complex numbers with integer parts below 2**53. Arrays come and go as nested lists
(``array.tolist()``). The names are the field's usual ones: ``x_pad[r][c][C]`` is the padded input,
``filters[m][u][v][c]`` is filter ``m``, ``y[i][j][m]`` is the output.
"""

MODES = {
    "zeros": "zeros",
    "constant": "zeros",
    "reflect": "reflect",
    "replicate": "replicate",
    "edge": "replicate",
    "circular": "circular",
    "wrap": "circular",
}


# --- Keywords -------------------------------------------------------------------------------------


def pair(value):
    """``(h, w)`` of a keyword given as one number or as two."""
    return (value, value) if isinstance(value, int) else tuple(value)


def effective(kernel, dilation):
    """How many rows a kernel of `kernel` taps covers, `dilation` rows apart."""
    return (kernel - 1) * dilation + 1


def axis_pads(word, size, kernel, stride, dilation):
    """``(before, after)`` on one axis of `size` for one of the words of `padding`."""
    if word == "valid":
        return 0, 0
    if word == "full":
        return effective(kernel, dilation) - 1, effective(kernel, dilation) - 1
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + effective(kernel, dilation) - size)
    smaller, larger = total // 2, total - total // 2
    return {"same": (smaller, larger), "same_lower": (larger, smaller)}[word]


def pads(padding, size, kernel_size=(1, 1), stride=1, dilation=1):
    """``((top, bottom), (left, right))`` of any spelling of `padding`, for an image of `size`, (H, W)."""
    if isinstance(padding, str):
        axes = zip(size, pair(kernel_size), pair(stride), pair(dilation), strict=True)
        return tuple(axis_pads(padding, *axis) for axis in axes)
    return tuple(pair(side) for side in pair(padding))


def output_size(size, kernel_size, stride=1, padding=0, dilation=1):
    """``(H_out, W_out)``: floor((size + pads - effective kernel) / stride) + 1 on each axis."""
    both = pads(padding, size, kernel_size, stride, dilation)
    axes = zip(size, both, pair(kernel_size), pair(stride), pair(dilation), strict=True)
    return tuple((n + before + after - effective(k, d)) // s + 1 for n, (before, after), k, s, d in axes)


# --- Layouts: all else works on x[r][c][C] and filters[m][u][v][c] --------------------------------


def depth(nested):
    """Number of axes of a nested list."""
    return 1 + depth(nested[0]) if isinstance(nested, list) else 0


def sample_from(x, layout):
    """``x[r][c][C]`` of one sample in `layout`; a 2-D image has one channel."""
    if depth(x) == 2:
        return [[[value] for value in row] for row in x]
    if layout == "NHWC":
        return x
    return [[[x[C][r][c] for C in range(len(x))] for c in range(len(x[0][0]))] for r in range(len(x[0]))]


def sample_to(y, layout):
    """One sample in `layout` of ``y[r][c][C]``."""
    if layout == "NHWC":
        return y
    return [[[y[r][c][C] for c in range(len(y[0]))] for r in range(len(y))] for C in range(len(y[0][0]))]


def filters_from(weight, layout):
    """``filters[m][u][v][c]`` of a weight in `layout`; a 2-D weight is one filter of one channel."""
    if depth(weight) == 2:
        return [sample_from(weight, layout)]
    return [sample_from(kernel, layout) for kernel in weight]


def position(r, c, C, shape, layout, order):
    """Index of element ``(r, c, C)`` in ``sample.ravel(order)``; `shape` is (height, width, channels)."""
    axes = list(zip((r, c, C), shape, strict=True))
    if layout == "NCHW":
        axes = [axes[2], axes[0], axes[1]]
    if order == "F":
        axes.reverse()
    index = 0
    for coordinate, length in axes:
        index = index * length + coordinate
    return index


# --- Padding --------------------------------------------------------------------------------------


def source(r, size, mode):
    """The row of the image that row `r`, counted from the image's first, copies; None where that is zeros."""
    if 0 <= r < size:
        return r
    if MODES[mode] == "zeros":
        return None
    if MODES[mode] == "replicate":
        return 0 if r < 0 else size - 1
    if MODES[mode] == "circular":
        return r % size
    return -r if r < 0 else 2 * (size - 1) - r


def sources(size, padding, mode):
    """Of every row and of every column of the padded image, the row or column of the image that it copies."""
    return tuple(
        [source(r, length, mode) for r in range(-before, length + after)]
        for length, (before, after) in zip(size, padding, strict=True)
    )


def pad_sample(x, padding, mode):
    """``x_pad[r][c][C]`` of ``x[r][c][C]`` with `padding` = ((top, bottom), (left, right))."""
    rows, columns = sources((len(x), len(x[0])), padding, mode)
    zero = [0] * len(x[0][0])
    return [[zero if r is None or c is None else x[r][c] for c in columns] for r in rows]


def pad(x, padding, *, padding_mode="zeros", layout="NHWC"):
    """``X_pad``, in the layout and with the axes of `x`."""
    if depth(x) == 4:
        return [pad(sample, padding, padding_mode=padding_mode, layout=layout) for sample in x]
    sample = sample_from(x, layout)
    x_pad = pad_sample(sample, pads(padding, (len(sample), len(sample[0]))), padding_mode)
    if depth(x) == 2:
        return [[pixel[0] for pixel in row] for row in x_pad]
    return sample_to(x_pad, layout)


# --- Direct form ----------------------------------------------------------------------------------


def output_element(x_pad, kernel, bias, i, j, first_channel, stride, dilation):
    """``Y[i, j, m]``: the bias, then patch ``(i, j)`` from `first_channel` on times filter `kernel`."""
    (s_h, s_w), (d_h, d_w) = pair(stride), pair(dilation)
    total = bias
    for u in range(len(kernel)):
        for v in range(len(kernel[0])):
            pixel = x_pad[i * s_h + u * d_h][j * s_w + v * d_w]
            taps = kernel[u][v]
            for c in range(len(taps)):
                total += pixel[first_channel + c] * taps[c]
    return total


def outputs(
    x, weight, bias, at, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros", layout="NHWC"
):
    """The list of ``Y[i, j, m]`` of one sample over the ``(i, j, m)`` of `at`."""
    sample, filters = sample_from(x, layout), filters_from(weight, layout)
    biases = [0] * len(filters) if bias is None else bias if isinstance(bias, list) else [bias]
    size, kernel_size = (len(sample), len(sample[0])), (len(filters[0]), len(filters[0][0]))
    x_pad = pad_sample(sample, pads(padding, size, kernel_size, stride, dilation), padding_mode)
    group, channels = len(filters) // groups, len(filters[0][0][0])
    return [
        output_element(x_pad, filters[m], biases[m], i, j, m // group * channels, stride, dilation)
        for i, j, m in at
    ]


def conv2d(x, weight, bias=None, *, layout="NHWC", **keywords):
    """``Y`` of `x`, in its layout; an (H, W) image with an (h, w) weight gives an (H_out, W_out) image."""
    if depth(x) == 4:
        return [conv2d(sample, weight, bias, layout=layout, **keywords) for sample in x]
    sample, filters = sample_from(x, layout), filters_from(weight, layout)
    sizes = {name: keywords[name] for name in ("stride", "padding", "dilation") if name in keywords}
    H_out, W_out = output_size((len(sample), len(sample[0])), (len(filters[0]), len(filters[0][0])), **sizes)
    at = [(i, j, m) for i in range(H_out) for j in range(W_out) for m in range(len(filters))]
    values = iter(outputs(x, weight, bias, at, layout=layout, **keywords))
    y = [[[next(values) for _ in filters] for _ in range(W_out)] for _ in range(H_out)]
    if depth(weight) == 2:
        return [[pixel[0] for pixel in row] for row in y]
    return sample_to(y, layout)


# --- im2col form ----------------------------------------------------------------------------------


def flatten(patch):
    """``x_ij`` or ``k_m``: element ``(u, v, c)`` at ``c k_h k_w + v k_h + u``."""
    k_h, k_w, channels = len(patch), len(patch[0]), len(patch[0][0])
    return [patch[u][v][c] for c in range(channels) for v in range(k_w) for u in range(k_h)]


def flatten_weight(weight, *, layout="NHWC"):
    """All the ``k_m`` as rows."""
    return [flatten(kernel) for kernel in filters_from(weight, layout)]


def im2col(x, kernel_size, *, stride=1, padding=0, dilation=1, padding_mode="zeros", layout="NHWC"):
    """All the ``x_ij`` as rows, over ``i`` and then ``j``."""
    keywords = {"stride": stride, "padding": padding, "dilation": dilation, "layout": layout}
    if depth(x) == 4:
        return [im2col(sample, kernel_size, padding_mode=padding_mode, **keywords) for sample in x]
    sample = sample_from(x, layout)
    size = len(sample), len(sample[0])
    (k_h, k_w), (s_h, s_w), (d_h, d_w) = pair(kernel_size), pair(stride), pair(dilation)
    x_pad = pad_sample(sample, pads(padding, size, kernel_size, stride, dilation), padding_mode)
    H_out, W_out = output_size(size, kernel_size, stride, padding, dilation)
    rows = []
    for i in range(H_out):
        for j in range(W_out):
            patch = [[x_pad[i * s_h + u * d_h][j * s_w + v * d_w] for v in range(k_w)] for u in range(k_h)]
            rows.append(flatten(patch))
    return rows


# --- Matrix form ----------------------------------------------------------------------------------


def conv_matrix(
    weight,
    input_shape,
    *,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    padding_mode="zeros",
    layout="NHWC",
    padded=False,
    order="F",
):
    """``W`` as a list of rows, each a dict from column to entry, and its number of columns.

    ``padded=True`` has a column for every element of ``X_pad``. ``padded=False`` has one for every element of
    ``X``: a tap on padding adds onto the pixel that is copied there, and is left out where that is zeros.
    """
    filters = filters_from(weight, layout)
    if len(input_shape) == 2:
        H_in, W_in, C_in = *input_shape, 1
    elif layout == "NHWC":
        H_in, W_in, C_in = input_shape
    else:
        C_in, H_in, W_in = input_shape
    size, kernel_size = (H_in, W_in), (len(filters[0]), len(filters[0][0]))
    both = pads(padding, size, kernel_size, stride, dilation)
    rows_from, columns_from = sources(size, both, padding_mode)
    column_shape = (len(rows_from), len(columns_from), C_in) if padded else (H_in, W_in, C_in)
    H_out, W_out = output_size(size, kernel_size, stride, padding, dilation)
    row_shape = H_out, W_out, len(filters)
    (s_h, s_w), (d_h, d_w) = pair(stride), pair(dilation)
    group = len(filters) // groups

    W = [{} for _ in range(H_out * W_out * len(filters))]
    for i in range(H_out):
        for j in range(W_out):
            for m, kernel in enumerate(filters):
                row = W[position(i, j, m, row_shape, layout, order)]
                for u in range(len(kernel)):
                    for v in range(len(kernel[0])):
                        for c, tap in enumerate(kernel[u][v]):
                            r, column = i * s_h + u * d_h, j * s_w + v * d_w
                            C = m // group * len(kernel[u][v]) + c
                            if not padded:
                                r, column = rows_from[r], columns_from[column]
                            if r is not None and column is not None:
                                n = position(r, column, C, column_shape, layout, order)
                                row[n] = row.get(n, 0) + tap
    return W, column_shape[0] * column_shape[1] * column_shape[2]


def dense(W, columns):
    """The rows of `conv_matrix` with their zeros."""
    return [[row.get(n, 0) for n in range(columns)] for row in W]


# --- Derivatives ----------------------------------------------------------------------------------


def flat(nested):
    """The numbers of nested lists, in order."""
    return [value for part in nested for value in flat(part)] if isinstance(nested, list) else [nested]


def shaped(values, shape):
    """Nested lists of a shape, of numbers in order."""
    if len(shape) == 1:
        return list(values)
    size = len(values) // shape[0]
    return [shaped(values[n * size : (n + 1) * size], shape[1:]) for n in range(shape[0])]


def input_grad(grad, weight, input_shape, *, layout="NHWC", **keywords):
    """``W^H vec(G)``, in the shape of the input: every output gives back to each pixel that it saw."""
    if len(input_shape) == 4:
        return [input_grad(sample, weight, input_shape[1:], layout=layout, **keywords) for sample in grad]
    size = 1
    for length in input_shape:
        size *= length
    numbers = sample_from(shaped(list(range(1, size + 1)), input_shape), layout)  # pixels by name, zeros none
    filters, g = filters_from(weight, layout), sample_from(grad, layout)
    stride, dilation = pair(keywords.get("stride", 1)), pair(keywords.get("dilation", 1))
    kernel = len(filters[0]), len(filters[0][0])
    sides = pads(keywords.get("padding", 0), (len(numbers), len(numbers[0])), kernel, stride, dilation)
    padded = pad_sample(numbers, sides, keywords.get("padding_mode", "zeros"))
    group, channels = len(filters) // keywords.get("groups", 1), len(filters[0][0][0])
    x = [0] * (size + 1)
    for i, row in enumerate(g):
        for j, pixel in enumerate(row):
            for m, value in enumerate(pixel):
                for u, taps in enumerate(filters[m]):
                    for v, tap in enumerate(taps):
                        seen = padded[i * stride[0] + u * dilation[0]][j * stride[1] + v * dilation[1]]
                        for c in range(channels):
                            x[seen[m // group * channels + c]] += value * tap[c].conjugate()
    return shaped(x[1:], input_shape)


def weight_grad(
    grad, x, kernel_size, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros", layout="NHWC"
):
    """Sums over samples and pixels of ``G[i][j][m]`` times the conjugate of what tap (u, v, c) sees there."""
    samples = [(grad, x)] if depth(x) < 4 else list(zip(grad, x, strict=True))
    (k_h, k_w), (s_h, s_w), (d_h, d_w) = pair(kernel_size), pair(stride), pair(dilation)
    total = None
    for g, sample in samples:
        g, image = sample_from(g, layout), sample_from(sample, layout)
        size = len(image), len(image[0])
        x_pad = pad_sample(image, pads(padding, size, kernel_size, stride, dilation), padding_mode)
        filters, channels = len(g[0][0]), len(image[0][0]) // groups
        if total is None:
            total = [[[[0] * channels for _ in range(k_w)] for _ in range(k_h)] for _ in range(filters)]
        for m, u, v, c in (
            (m, u, v, c)
            for m in range(filters)
            for u in range(k_h)
            for v in range(k_w)
            for c in range(channels)
        ):
            C = m // (filters // groups) * channels + c
            for i in range(len(g)):
                for j in range(len(g[0])):
                    seen = x_pad[i * s_h + u * d_h][j * s_w + v * d_w][C]
                    total[m][u][v][c] += g[i][j][m] * seen.conjugate()
    if depth(grad) == depth(x) == 2:
        return [[tap[0] for tap in row] for row in total[0]]
    return [sample_to(kernel, layout) for kernel in total]


def col2im(cols, input_shape, kernel_size, **keywords):
    """What each pixel gets back from patches: pixels are numbered, and the patches of numbers say whose."""
    if len(input_shape) == 4:
        return [col2im(sample, input_shape[1:], kernel_size, **keywords) for sample in cols]
    size = 1
    for length in input_shape:
        size *= length
    x = [0] * size
    numbers = im2col(shaped(list(range(1, size + 1)), input_shape), kernel_size, **keywords)
    for n, value in zip(flat(numbers), flat(cols), strict=True):
        if n:
            x[n - 1] += value
    return shaped(x, input_shape)


def conv_transpose2d(
    x, weight, bias, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1, layout="NHWC"
):
    """Every element of `x` adds its filter, times itself, onto the output; what was padded is cut off."""
    if depth(x) == 4:
        keywords = {"stride": stride, "padding": padding, "output_padding": output_padding}
        keywords |= {"dilation": dilation, "groups": groups, "layout": layout}
        return [conv_transpose2d(sample, weight, bias, **keywords) for sample in x]
    sample, filters = sample_from(x, layout), filters_from(weight, layout)
    k, s, d, extra = (len(filters[0]), len(filters[0][0])), pair(stride), pair(dilation), pair(output_padding)
    sides = pads(0 if padding == "valid" else padding, (1, 1))
    height, width = (
        (n - 1) * s[a] - sum(sides[a]) + d[a] * (k[a] - 1) + extra[a] + 1
        for a, n in enumerate((len(sample), len(sample[0])))
    )
    channels = len(filters[0][0][0])
    group = len(filters) // groups
    y = [[list(bias) for _ in range(width)] for _ in range(height)]
    for i, row in enumerate(sample):
        for j, pixel in enumerate(row):
            for m, kernel in enumerate(filters):
                for u in range(k[0]):
                    for v in range(k[1]):
                        r, column = i * s[0] + u * d[0] - sides[0][0], j * s[1] + v * d[1] - sides[1][0]
                        if 0 <= r < height and 0 <= column < width:
                            for c in range(channels):
                                y[r][column][m // group * channels + c] += pixel[m] * kernel[u][v][c]
    return [[pixel[0] for pixel in row] for row in y] if depth(weight) == 2 else sample_to(y, layout)
