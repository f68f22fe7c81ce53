#Requires -Version 5.1
#Requires -RunAsAdministrator
<#
.SYNOPSIS
  Lets devices of the network reach a gateway that runs in Docker Desktop with WSL2.
.DESCRIPTION
  -Mode Nat       a Windows Firewall rule, and a port proxy to WSL that a scheduled task renews at each start
  -Mode Mirrored  networkingMode=mirrored in .wslconfig, and a Hyper-V firewall rule; needs Windows 11 22H2 and WSL 2.0.4
  Run it as the user for whom Docker Desktop starts. It may be run again, also with the other mode; Disable-MenderGateway.ps1
  undoes all of it, also what it began and did not end. What was there before is kept in
  %ProgramFiles%\MenderGateway\state.json. A port proxy, rule or task of somebody else in the same place is not touched: it is
  named, and nothing is done. With -WhatIf it says what it would do.
.EXAMPLE
  .\Enable-MenderGateway.ps1 -Mode Nat
.EXAMPLE
  .\Enable-MenderGateway.ps1 -Mode Mirrored -RemoteAddress 192.168.8.0/24
#>
[CmdletBinding(SupportsShouldProcess)]
param(
  [Parameter(Mandatory)] [ValidateSet('Nat', 'Mirrored')] [string]$Mode,
  [ValidateRange(1, 65535)] [int]$Port = 443,         # devices use it
  [ValidateRange(0, 65535)] [int]$TargetPort = 0,     # Docker publishes it, if that is another one (Nat)
  [string]$Distribution = '',                         # whom to ask for the address of WSL; the default one (Nat)
  [string[]]$RemoteAddress = @('Any')                 # who may connect
)
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'MenderGateway.psm1') -Force
$names = Get-GatewayNames
if ($TargetPort -eq 0) { $TargetPort = $Port }
if ($PSScriptRoot -eq $names.Directory) { throw "$PSScriptRoot is where the task's scripts go: run these from another folder" }

$config = Join-Path $env:USERPROFILE '.wslconfig'
if ($Mode -eq 'Nat') {
  $target = "TCP port $Port"
  $what = 'allow it in the Windows Firewall and lead it to WSL'
}
else {
  if ([Environment]::OSVersion.Version.Build -lt 22621) { throw 'mirrored networking needs Windows 11 22H2 (build 22621) or later: use -Mode Nat' }
  if (-not (Get-Command New-NetFirewallHyperVRule -ErrorAction SilentlyContinue)) { throw 'this Windows has no Hyper-V firewall: use -Mode Nat' }
  $env:WSL_UTF8 = '1'
  $version = (& wsl.exe --version) -join ' '
  if ($version -notmatch '(\d+\.\d+\.\d+)' -or [version]$Matches[1] -lt [version]'2.0.4') { throw "mirrored networking needs WSL 2.0.4 or later (wsl --update): $version" }
  $target = $config
  $what = "networkingMode=mirrored, a Hyper-V firewall rule for TCP port $Port, and a restart of WSL"
}
$earlier = Read-State
if ($null -eq $earlier) { Assert-NobodyElses -Mode $Mode -Port $Port }
if (-not $PSCmdlet.ShouldProcess($target, $what)) { return }
if ($null -ne $earlier) {
  Write-Output 'undoing what was set up before'
  & (Join-Path $PSScriptRoot 'Disable-MenderGateway.ps1') -KeepWslRunning:($Mode -eq 'Mirrored')  # the address of NAT is there once WSL is anew
  Assert-NobodyElses -Mode $Mode -Port $Port
}

try {
  # The record of what was there comes before each change: from here on Disable-MenderGateway.ps1 undoes it.
  if ($Mode -eq 'Nat') {
    $service = Get-Service -Name $names.Service
    Write-State -State @{
      Mode = 'Nat'; Port = $Port; TargetPort = $TargetPort; Distribution = $Distribution; PortProxy = ''
      ServiceStart = "$($service.StartType)"; ServiceStatus = "$($service.Status)"
    }
    New-NetFirewallRule -Name $names.FirewallRule -DisplayName 'Mender Gateway' -Direction Inbound -Action Allow `
      -Protocol TCP -LocalPort $Port -RemoteAddress $RemoteAddress | Out-Null
    if ("$($service.StartType)" -ne 'Automatic') { Set-Service -Name $names.Service -StartupType Automatic }
    Start-Service -Name $names.Service

    # Copies that only administrators can change, since the task has their rights.
    foreach ($name in $names.Scripts) {
      Copy-Item -LiteralPath (Join-Path $PSScriptRoot $name) -Destination (Join-Path $names.Directory $name) -Force
    }
    $script = Join-Path $names.Directory 'Update-PortProxy.ps1'
    $action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument "-NoProfile -ExecutionPolicy Bypass -File `"$script`""
    $user = [System.Security.Principal.WindowsIdentity]::GetCurrent().Name
    # WSL belongs to a user: at the start of Windows nobody is there for whom it could run before that user logs on.
    $triggers = @((New-ScheduledTaskTrigger -AtStartup), (New-ScheduledTaskTrigger -AtLogOn -User $user))
    $principal = New-ScheduledTaskPrincipal -UserId $user -LogonType Interactive -RunLevel Highest
    $settings = New-ScheduledTaskSettingsSet -StartWhenAvailable -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries `
      -ExecutionTimeLimit (New-TimeSpan -Minutes 10) -RestartCount 3 -RestartInterval (New-TimeSpan -Minutes 1)
    Register-ScheduledTask -TaskName $names.Task -TaskPath '\' -Action $action -Trigger $triggers -Principal $principal `
      -Settings $settings -Description 'Leads the Mender gateway''s port to WSL, whose address changes at each start' | Out-Null
    & $script
  }
  else {
    $before = Read-Config -Path $config
    $after = Set-Mirrored -Text "$before"
    $state = @{ Mode = 'Mirrored'; Port = $Port; Config = $config; Before = $null; After = (ConvertTo-Base64 -Text $after) }
    if ($null -ne $before) { $state.Before = ConvertTo-Base64 -Text $before }
    Write-State -State $state
    if ($state.After -cne $state.Before) { Write-Config -Path $config -Text $after }
    $rule = @{
      Name = $names.HyperVRule; DisplayName = 'Mender Gateway'; Direction = 'Inbound'; Action = 'Allow'
      VMCreatorId = (Get-WslCreator); Protocol = 'TCP'; LocalPorts = $Port
    }
    if ($RemoteAddress -notcontains 'Any') { $rule.RemoteAddresses = $RemoteAddress }
    New-NetFirewallHyperVRule @rule | Out-Null
    & wsl.exe --shutdown
    Write-Output 'WSL was shut down: restart Docker Desktop now'
  }
}
catch {
  Write-Warning 'not all of it is done: run this again, or Disable-MenderGateway.ps1, which undoes what is'
  throw
}
Write-Output "done: from another computer, try  curl -k https://$($env:COMPUTERNAME):$Port/api/internal/v1/gateway/alive -i"
