# Pairs of runs, "ours share rate theirs share rate" a line, to one row: the median of the pairs' ratios
# (-v how=difference: of their differences, in us), and what it was made of. Where a server's CPU was busy
# less than 90 % of the time its client was the bottleneck: then nothing is said of its rate.

function sort(a, n,   i, j, t) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && a[j] < a[j - 1]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
}

function median(a, n) {
    sort(a, n)
    return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
}

function who(share, rate) {
    if (rate == 0) return ""
    return share < 0.9 ? " (client-bound)" : sprintf(" (%.0f/s)", rate)
}

{
    ours[NR] = $1; ours_share[NR] = $2; ours_rate[NR] = $3
    theirs[NR] = $4; their_share[NR] = $5; their_rate[NR] = $6
    q[NR] = how == "difference" ? $1 - $4 : $1 / $4
}

END {
    result = median(q, NR) # which sorts them
    printf "%.3f%s\t%.3f us%s over %.3f us%s, %.2f to %.2f", result,
        how == "difference" ? " us" : "", median(ours, NR),
        who(median(ours_share, NR), median(ours_rate, NR)), median(theirs, NR),
        who(median(their_share, NR), median(their_rate, NR)), q[1], q[NR]
}
